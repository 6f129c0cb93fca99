"""Nodes whose data are not what the server takes them for, although their numbers fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict

from clients.app import answer
from common.config import Config
from common.errors import UserError
from datasets.configured import open_dataset
from server.meeting import meet_clients
from server.messages.client_registry import ClientRegistry
from server.messages.returned_nodes import returned_clients
from tests.conftest import small_config
from tests.server.messages.test_discovery import Answer, AnsweringGrid

TABLE: dict[str, Any] = {
    "clients__count": 2, "dataset__name": "csv", "model__name": "linear", "augmentation__name": "none",
}  # fmt: skip
ARRAYS = {**TABLE, "dataset__name": "npz", "partition__name": "iid"}


def table(
    folder: Path, columns: str = "age,colour", labels: str = "cat dog", colours: str = "red blue"
) -> Path:
    folder.mkdir()
    values = {"age": list("1234"), "colour": colours.split() * 2, "label": labels.split() * 2}
    names = [*columns.split(","), "label"]
    rows = [names, *zip(*(values[name] for name in names), strict=True)]
    for part in ("train", "test"):
        (folder / f"{part}.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    return folder


def arrays(folder: Path, roll: int = 0, kind: str = "features", lighter: int = 0) -> Path:
    folder.mkdir()
    targets = np.roll(np.arange(12) % 3, roll)
    inputs = np.arange(12 * 4).reshape(12, 2, 2) + lighter
    inputs = inputs.astype(np.uint8) if kind == "images" else inputs / 7.0
    for part in ("train", "test"):
        np.savez(folder / f"{part}.npz", inputs=inputs, targets=targets)
    return folder


def node(config: Config, client: int, root: Path) -> Answer:
    """Answer as the client's node would, with its own folder of data."""

    def reply(message: Message) -> Message:
        place = {"partition-id": client, "num-partitions": 2, "data-root": str(root)}
        return answer(message, Context(1, client + 7, place, RecordDict(), config.flat()))

    return reply


def meet(settings: dict[str, Any], server: Path, *nodes: Path) -> tuple[ClientRegistry, list[str]]:
    """Return the clients that a server with data of its own meets, and what it says."""
    config, said = small_config(dataset__root=str(server), **settings), list[str]()
    grid = AnsweringGrid({client + 7: node(config, client, root) for client, root in enumerate(nodes)})
    return meet_clients(config, grid, open_dataset(config), said.append), said


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"labels": "dog fox"}, "in the classes, by name and order: name all classes in dataset.classes"),
        ({"columns": "colour,age"}, "in the inputs"),
        ({"colours": "red green"}, "in the inputs"),
    ],
)
@pytest.mark.parametrize("labels", [True, False])
def test_tables_of_the_same_size_with_another_meaning(
    tmp_path: Path, other: dict[str, str], what: str, labels: bool
) -> None:
    settings = {**TABLE, "partition__name": "node", "clients__report_labels": labels}
    first, second = table(tmp_path / "first"), table(tmp_path / "second", **other)
    with pytest.raises(UserError, match=f"data of client 1 and those of the server differ {what}"):
        meet(settings, first, first, second)
    with pytest.raises(UserError, match=f"data of client 0 and those of the server differ {what}"):
        meet(settings, second, first, first)


def test_classes_that_are_named_are_the_same_everywhere(tmp_path: Path) -> None:
    first, second = table(tmp_path / "first"), table(tmp_path / "second", labels="dog dog")
    settings = {**TABLE, "partition__name": "node", "dataset__classes": "cat,dog"}
    assert meet(settings, first, first, second)[0].label_counts.tolist() == [[2, 2], [0, 4]]


def test_other_samples_than_the_server_deals(tmp_path: Path) -> None:
    server, other = arrays(tmp_path / "server"), arrays(tmp_path / "other", roll=1)
    assert meet(ARRAYS, server, server, server)[1] == []
    with pytest.raises(UserError, match=r"client 1 has other training samples or labels .*--data-root"):
        meet(ARRAYS, server, server, other)
    # Each node has all of its own data then, and the server none of them.
    assert meet({**ARRAYS, "partition__name": "node"}, server, server, other)[1] == []


def test_other_images_with_the_same_labels_are_said(tmp_path: Path) -> None:
    server, other = (
        arrays(tmp_path / "server", kind="images"),
        arrays(tmp_path / "o", kind="images", lighter=1),
    )
    (line,) = meet(ARRAYS, server, server, other)[1]
    assert line.startswith("client 1: the inputs of the training samples are not those of the server")


def test_a_node_that_returns_with_other_data_of_the_same_numbers(tmp_path: Path) -> None:
    server, other = arrays(tmp_path / "server"), arrays(tmp_path / "other", roll=3)
    clients, _ = meet(ARRAYS, server, server, server)
    config = small_config(dataset__root=str(server), **ARRAYS)
    grid = AnsweringGrid({7: node(config, 0, server), 9: node(config, 1, other)})
    assert clients.label_counts.sum() == 12
    assert returned_clients(grid, clients, 1) == [1]  # the order is another, all labels are where they were

    clients, _ = meet(ARRAYS, server, server, server)
    grid = AnsweringGrid({7: node(config, 0, server), 9: node(config, 1, arrays(tmp_path / "third", roll=1))})
    with pytest.raises(UserError, match="node of client 1 has come back with different data"):
        returned_clients(grid, clients, 1)
