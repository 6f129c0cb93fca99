"""Damaged archives of known data sets, lists and plays: one line."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from datasets import load_dataset
from datasets.images.decoding import decode
from datasets.images.image_lists import read_image_list
from datasets.images.raw import RawDataset, RawSplit
from datasets.shakespeare.layouts import read_roles


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(root: Path, **changes: bytes) -> None:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split, count in (("train", 4), ("t10k", 2)):
        images = idx(np.zeros((count, 28, 28), np.uint8))
        labels = idx(np.arange(count, dtype=np.uint8))
        for name, content in ((f"{split}-images-idx3-ubyte", images), (f"{split}-labels-idx1-ubyte", labels)):
            (folder / name).write_bytes(changes.get(name.replace("-", "_"), content))


def test_a_whole_one_is_read(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    assert load_dataset("mnist", root=tmp_path).train.targets.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "content", [b"", b"\x00", idx(np.arange(3, dtype=np.uint8)), idx(np.full(4, 77, np.uint8)), b"x" * 99]
)
def test_damaged_labels(tmp_path: Path, content: bytes) -> None:
    write_mnist(tmp_path, train_labels_idx1_ubyte=content)
    with pytest.raises(UserError) as raised:
        load_dataset("mnist", root=tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("num_images", "num_labels"), [(3, 4), (5, 4), (600, 4), (1, 2)])
def test_images_and_labels_that_do_not_belong_together(num_images: int, num_labels: int) -> None:
    split = RawSplit([np.zeros((num_images, 1, 2, 2), np.uint8)], np.zeros(num_labels, np.int64))
    test = RawSplit([np.zeros((1, 1, 2, 2), np.uint8)], np.zeros(1, np.int64))
    with pytest.raises(UserError, match=rf"train_inputs has \d+.* images and {num_labels} labels"):
        decode(RawDataset(split, test, ("only",)), 0)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_beyond_the_classes(label: int) -> None:
    split = RawSplit([np.zeros((1, 1, 2, 2), np.uint8)], np.array([label]))
    with pytest.raises(UserError, match="the training labels go beyond the 2 classes"):
        decode(RawDataset(split, split, ("a", "b")), 0)


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_list_is_images_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    try:
        images = read_image_list(path, "dataset.list-file")
    except UserError as error:
        assert "\n" not in str(error).replace(repr(content), "")  # noqa: PT017
    else:
        assert len(images.paths) == len(images.targets) > 0


PLAY = "ANN:\nHello.\n\nBOB:\nGood day.\n"


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_plays_with_any_line_ends_and_a_mark(tmp_path: Path, ends: str, mark: str) -> None:
    (tmp_path / "play.txt").write_bytes((mark + PLAY.replace("\n", ends)).encode())
    (tmp_path / "._play.txt").write_bytes(b"\x00\xff")
    roles, _ = read_roles(tmp_path)
    assert [(role.name, role.speeches) for role in roles] == [("ANN", [["Hello."]]), ("BOB", [["Good day."]])]


@pytest.mark.parametrize("name", ["play.txt", "tinyshakespeare.txt", "100.txt"])
@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_texts_that_are_not_utf8(tmp_path: Path, name: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(PLAY.replace("e", "é").encode(encoding))
    with pytest.raises(UserError, match=rf"dataset\.root: cannot read .*{name}: it is not UTF-8 text"):
        read_roles(tmp_path)
