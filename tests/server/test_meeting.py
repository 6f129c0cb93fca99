from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.app import answer, app
from clients.base import Client
from common.config import Config
from common.errors import UserError
from common.sections import Value
from datasets.arrays import Arrays
from datasets.configured import open_dataset
from datasets.loading import load_dataset
from runtimes.sequential import SequentialGrid
from server.meeting import meet_clients
from server.messages.client_registry import ClientRegistry
from server.messages.discovery import discover_clients
from tests.conftest import Runner, small_config
from tests.fake_gpu import fake_gpu


class CountingGrid(SequentialGrid):
    """Counts its messages."""

    def __init__(self, config: Config, client_app: ClientApp = app) -> None:
        super().__init__(client_app, config.clients.count, config.flat())
        self.num_messages = 0

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        self.num_messages += len(messages)
        return super().exchange(messages)


def met(config: Config, grid: CountingGrid) -> ClientRegistry:
    return meet_clients(config, grid, open_dataset(config))


def numbers() -> Arrays:
    inputs = np.random.default_rng(0).random((40, 3), dtype=np.float32)
    return Arrays((inputs, inputs[:, 0]), (inputs[:5], inputs[:5, 0]))


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"partition__name": "dirichlet"},
        {"clients__report_labels": False},
        {"partition__name": "quantity", "dataset__binarize": True},
        {"method__name": "fedper", "model__name": "small-cnn"},
        {
            "dataset__name": "tests.server.test_meeting:numbers",
            "loss__name": "mse",
            "model__name": "linear",
            "augmentation__name": "none",
            "partition__name": "iid",
        },
    ],
)
def test_three_clients_speak_for_all_and_say_the_same(overrides: dict[str, Value]) -> None:
    config = small_config(**{"clients__count": 20, **overrides})
    with CountingGrid(config) as grid:
        found = met(config, grid)
        assert grid.num_messages <= 3
        everyone = discover_clients(grid, 20, timeout=1)
        assert grid.num_messages >= 20
    assert dict(found.node_ids) == dict(everyone.node_ids)
    assert dict(found.client_ids) == dict(everyone.client_ids)
    assert found.label_counts.tolist() == everyone.label_counts.tolist()
    assert found.num_examples.tolist() == everyone.num_examples.tolist()
    assert found.personal_names == everyone.personal_names
    assert (found.keeps_state, found.is_personalised) == (everyone.keeps_state, everyone.is_personalised)


def features() -> Arrays:
    """Data whose inputs are others at every call, outside of ``open_dataset``, which seeds generators."""
    inputs, labels = np.random.default_rng().random((40, 3), dtype=np.float32), np.arange(40) % 2
    return Arrays((inputs, labels), (inputs, labels))


def images() -> Arrays:
    pixels = np.random.default_rng().integers(0, 256, (40, 8, 8), dtype=np.uint8)
    return Arrays((pixels, np.arange(40) % 2), (pixels, np.arange(40) % 2))


def labels() -> Arrays:
    made = np.random.default_rng().integers(2, size=400)
    return Arrays((np.arange(400.0), made), (np.arange(400.0), made))


@pytest.mark.parametrize(
    ("load", "text"),
    [
        (features, "the inputs of the training samples of client 0 are not those that the server has"),
        (images, "the inputs of the training samples of client 0 are not those that the server has"),
        (labels, "client 0 has other training samples or labels than the server has for it"),
    ],
)
def test_data_that_are_others_in_every_process_are_refused(load: Callable[[], Arrays], text: str) -> None:
    name = f"tests.server.test_meeting:{load.__name__}"
    config = small_config(
        dataset__name=name, model__name="linear", augmentation__name="none", partition__name="iid"
    )
    with CountingGrid(config) as grid:
        dataset = open_dataset(config)
        assert len(meet_clients(config, grid, dataset).node_ids) == config.clients.count
        with pytest.raises(UserError, match=f"{text}.*must return the same in all"):
            meet_clients(config, grid, load_dataset(name, root="."))


@pytest.mark.parametrize("is_alike", [True, False])
def test_clients_without_the_servers_gpu_are_named(is_alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("clients.local.worker.resolve_device", lambda name: torch.device("cpu"))
    if not is_alike:
        monkeypatch.setattr("server.meeting._agrees", lambda *arguments: False)
    config = small_config(device="auto")
    with fake_gpu(), CountingGrid(config) as grid:
        meet_clients(config, grid, open_dataset(config), said.append)
    (remark,) = said
    assert remark.startswith("client 0, ")
    assert "training is on the CPU, although this process uses cuda" in remark


def test_all_are_asked_where_one_holds_something_else_than_the_partition_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(clients__count=20)
    original = Client.label_counts
    monkeypatch.setattr(Client, "label_counts", lambda self: original(self) * 2)
    with CountingGrid(config) as grid:
        found = met(config, grid)
        assert grid.num_messages >= 20
    assert (found.label_counts.sum(axis=1) == 2 * found.num_examples).all()


def test_nodes_with_data_of_their_own_all_speak_for_themselves() -> None:
    config = small_config(clients__count=5, partition__name="node")
    with CountingGrid(config) as grid:
        assert met(config, grid).num_examples.min() > 0
        assert grid.num_messages == 5


def test_contexts_exist_for_those_who_were_asked() -> None:
    seen: set[int] = set()
    watching = ClientApp()

    @watching.query("describe")
    def describe(message: Message, context: Context) -> Message:
        seen.add(int(context.node_config["partition-id"]))
        return answer(message, context)

    config = small_config(clients__count=300, partition__name="quantity")
    with CountingGrid(config, watching) as grid:
        sizes = met(config, grid).num_examples
    assert seen == {0, int(sizes.argmin()), int(sizes.argmax())}


def test_nodes_in_a_row_are_no_mapping_of_each() -> None:
    registry = ClientRegistry(range(10, 10 + 10**9), np.zeros((1, 1), np.int64))
    assert registry.node_ids[7] == 17
    assert registry.client_ids[17] == 7
    assert len(registry.client_ids) == 10**9
    assert registry.unknown(range(10, 10 + 10**9)) == set()
    assert 9 not in registry.client_ids
    with pytest.raises(KeyError):
        registry.node_ids[10**9]


def test_clients_that_were_not_asked_keep_state_without_being_asked_later(
    run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[str] = []

    class Watched(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            sent.extend(message.metadata.message_type for message in messages)
            return super().exchange(messages)

    run_small("run", Watched, method__name="scaffold", clients__count=30, clients__fraction=0.2)
    assert sent.count("query.describe") <= 3
    assert "is back" not in capsys.readouterr().out
