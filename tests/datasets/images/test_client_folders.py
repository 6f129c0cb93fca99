"""Folders of images by client."""

from pathlib import Path

import pytest

from common.errors import UserError
from datasets import load_dataset
from tests.datasets.folders import write_image


@pytest.mark.parametrize("place", ["outer", "inner"])
def test_clients_are_the_folders_and_classes_the_others(tmp_path: Path, place: str) -> None:
    images = (("w1", "A", 0), ("w2", "A", 1), ("w2", "B", 2), ("w1", "A", 3), ("w2", "A", 4))
    for client, label, value in images:
        folder = f"{client}/{label}" if place == "outer" else f"{label}/{client}"
        write_image(tmp_path / "train" / folder / "page" / f"{value}.png", value=value)
    write_image(tmp_path / "test" / ("w1/B" if place == "outer" else "B/w1") / "9.png", value=9)
    plain = load_dataset("image-folder", root=tmp_path)
    dataset = load_dataset("image-folder", root=tmp_path, parameters={"client-folders": place})
    assert dataset.train.clients is not None
    assert dataset.test.clients is not None
    clients = [dataset.client_names[client] for client in dataset.train.clients]
    labels = [dataset.class_names[label] for label in dataset.train.targets]
    values = dataset.train.inputs[:, 0, 0, 0].tolist()
    assert sorted(zip(clients, labels, values, strict=True)) == sorted(images)
    assert dataset.client_names == ("w2", "w1")
    assert (dataset.test.clients.tolist(), dataset.test.targets.tolist()) == ([1], [1])
    assert (plain.client_names, plain.train.clients) == ((), None)  # the same files, read otherwise
    held_out = {"client-folders": place, "test-fraction": 0.4}
    split = load_dataset("image-folder", root=tmp_path, parameters=held_out)
    assert split.test.clients is not None
    assert (len(split.train), len(split.test), len(split.test.clients)) == (3, 2, 2)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "w1" / "A" / "0.png")
    write_image(tmp_path / "test" / "w9" / "A" / "0.png")
    options = {"client-folders": "outer"}
    with pytest.raises(UserError, match=r"test: client 'w9' has no image in"):
        load_dataset("image-folder", root=tmp_path, parameters=options)
    with pytest.raises(UserError, match="client-folders is for folders of images"):
        load_dataset(
            "image-folder", root=tmp_path, parameters={**options, "list-file": "a", "test-list-file": "b"}
        )
    (tmp_path / "test" / "w9" / "A" / "0.png").rename(tmp_path / "test" / "w9" / "0.png")
    with pytest.raises(UserError, match=r"no images in .*test/<client>/<class>"):
        load_dataset("image-folder", root=tmp_path, parameters=options)
