"""The four data sets of LEAF, from files of a few samples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from datasets import load_dataset
from datasets.configured import open_dataset
from datasets.dataset import Dataset
from datasets.partition_scheme import partition_clients
from datasets.shakespeare.vocabulary import LEAF
from tests.common.configs import make_config
from tests.datasets.folders import write_image
from tests.datasets.leaf.written import write

WINDOW = "To be, or not to be, that is the question: Whether 'tis nobler in the mind to suf"[:80]


def clients_of(dataset: Dataset) -> tuple[list[int], list[int]]:
    assert dataset.train.clients is not None
    assert dataset.test.clients is not None
    return dataset.train.clients.tolist(), dataset.test.clients.tolist()


def test_femnist_has_the_bytes_that_leaf_divided_by_255(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(4, 784))
    x = (pixels / 255).tolist()
    write(tmp_path, "train", {"f1_2": (x[:1], [61]), "f0_1": (x[1:3], [0, 35])}, files=2)
    write(tmp_path, "test", {"f0_1": (x[3:], [10])})
    for _ in range(2):  # from the files, and from the cache
        dataset = load_dataset("femnist", root=tmp_path)
        assert np.array_equal(dataset.train.inputs.reshape(3, 784).numpy(), pixels[:3])
        assert np.array_equal(dataset.test.inputs.reshape(1, 784).numpy(), pixels[3:])
        assert dataset.input_shape == (1, 28, 28)
        assert dataset.train.targets.tolist() == [61, 0, 35]
        assert [dataset.class_names[label] for label in (0, 10, 35, 61)] == ["0", "A", "Z", "z"]
        assert dataset.client_names == ("f0_1", "f1_2")
        assert clients_of(dataset) == ([1, 0, 0], [0])
    write(tmp_path, "train", {"f1_2": (x[:1], [60])})
    assert load_dataset("femnist", root=tmp_path).train.targets[0] == 60  # a file has changed


def test_writers_are_clients_and_the_largest_are_kept(tmp_path: Path) -> None:
    image = [0.0] * 784
    users = {name: ([image] * count, [0] * count) for name, count in (("a", 1), ("b", 3), ("c", 2))}
    for part in ("train", "test"):
        write(tmp_path, part, users)
    config = make_config(
        {
            "dataset.name": "femnist",
            "dataset.root": str(tmp_path),
            "partition.name": "natural",
            "clients.count": 2,
        }
    )
    dataset = open_dataset(config)
    assert dataset.client_names == ("b", "c")
    assert [len(part) for part in partition_clients(config, dataset)] == [3, 2]
    assert len(dataset.test) == 5


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([0.0] * 783, 0, "each of 'x' must be a list of 784 numbers"),
        ("image.png", 0, "each of 'x' must be a list of 784 numbers"),
        ([0.0] * 783 + [1.5], 0, "a pixel that is not a number from 0 to 1"),
        ([0.0] * 783 + [float("nan")], 0, "a pixel that is not a number from 0 to 1"),
        ([0.0] * 784, 62, "label 0 is 62, not a class from 0 to 61"),
        ([0.0] * 784, -1, "label 0 is -1, not"),
        ([0.0] * 784, True, "label 0 is True, not"),
        ([0.0] * 784, 1.0, "label 0 is 1.0, not"),
    ],
)
def test_a_damaged_image_names_file_and_writer(tmp_path: Path, x: Any, y: Any, message: str) -> None:
    write(tmp_path, "train", {"f0": ([x], [y])})
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError) as caught:
        load_dataset("femnist", root=tmp_path)
    assert "train_9.json, user 'f0': " in str(caught.value)
    assert message in str(caught.value)


def test_celeba_names_images_of_a_folder(tmp_path: Path) -> None:
    for value in range(3):
        write_image(tmp_path / "raw" / "img_align_celeba" / f"{value}.jpg", value=0 if value < 2 else 255)
    write(tmp_path, "train", {"7": (["2.jpg"], [0]), "12": (["0.jpg", "1.jpg"], [1, 0])})
    write(tmp_path, "test", {"12": (["1.jpg"], [1])})
    dataset = load_dataset("celeba", root=tmp_path)
    assert dataset.train.inputs[:, 0, 0, 0].tolist() == [255, 0, 0]
    assert (dataset.input_shape, dataset.num_classes) == ((3, 4, 4), 2)
    assert dataset.train.targets.tolist() == [0, 1, 0]
    assert dataset.client_names == ("12", "7")
    assert clients_of(dataset) == ([1, 0, 0], [0])
    for name in ("3.jpg", "../2.jpg", 5):
        write(tmp_path, "train", {"7": ([name], [0])})
        with pytest.raises(UserError, match=r"train_9\.json, user '7': .*img_align_celeba has no image"):
            load_dataset("celeba", root=tmp_path)
    (tmp_path / "raw").rename(tmp_path / "other")
    with pytest.raises(UserError, match=r"expected the images in .*img_align_celeba\.zip of https://mmlab"):
        load_dataset("celeba", root=tmp_path)


def test_shakespeare_has_windows_and_the_next_character(tmp_path: Path) -> None:
    write(tmp_path, "train", {"HAMLET": ([WINDOW, WINDOW[::-1]], ["f", "~"])})
    write(tmp_path, "test", {"HAMLET": ([WINDOW], ["f"])})
    dataset = load_dataset("leaf-shakespeare", root=tmp_path)
    ids, _ = LEAF.encode(WINDOW)
    assert np.array_equal(dataset.train.inputs.numpy(), [ids, ids[::-1]])
    assert dataset.train.inputs.numpy().dtype == np.uint8
    names = [dataset.class_names[target] for target in dataset.train.targets]
    assert names == ["f", "space"]  # the second is not in the vocabulary
    assert any("count as spaces: 1" in remark for remark in dataset.remarks)
    assert (dataset.num_classes, dataset.num_tokens, dataset.client_names) == (80, 0, ("HAMLET",))
    for x, y in (([WINDOW[1:]], ["f"]), ([3], ["f"]), ([WINDOW], ["fo"]), ([WINDOW], [""])):
        write(tmp_path, "train", {"HAMLET": (x, y)})
        with pytest.raises(UserError, match=r"train_9\.json, user 'HAMLET': "):
            load_dataset("leaf-shakespeare", root=tmp_path)


def test_tweets_are_words_of_a_vocabulary(tmp_path: Path) -> None:
    def tweet(text: str) -> list[str]:
        return ["1", "Mon", "NO_QUERY", "ann", text, "training"]

    write(
        tmp_path,
        "train",
        {"ann": ([tweet("Good, good DAY!"), tweet("a")], [4, 0]), "bob": ([tweet("bad day")], ["0"])},
    )
    write(tmp_path, "test", {"ann": ([tweet("day new good one two")], [1])})
    dataset = load_dataset("sent140", root=tmp_path, parameters={"length": 5, "words": 2})
    # the two most frequent words are day (4) and good (5); 1 is unknown, 2 begins, 3 ends, 0 fills
    assert dataset.train.inputs.tolist() == [[2, 5, 1, 5, 3], [2, 1, 3, 0, 0], [2, 1, 4, 3, 0]]
    assert dataset.test.inputs.tolist() == [[2, 4, 1, 5, 3]]
    assert dataset.train.targets.tolist() == [1, 0, 0]
    assert (dataset.num_classes, dataset.num_tokens) == (2, 6)
    assert clients_of(dataset) == ([0, 0, 1], [0])
    (tmp_path / "words.txt").write_text("bad 0.1 0.2\ngood 0.3 0.4\n")
    given = load_dataset("sent140", root=tmp_path, parameters={"length": 5, "words-file": "words.txt"})
    assert given.train.inputs[2].tolist() == [2, 4, 1, 3, 0]
    words = [f"word{index}" for index in range(10)]
    write(tmp_path, "train", {"ann": (list(map(tweet, words)), [0, 4] * 5)})
    held = load_dataset("sent140", root=tmp_path, validation_fraction=0.4, parameters={"length": 3})
    assert (len(held.train), held.num_tokens) == (6, 4 + 6)
    assert held.train.inputs[:, 1].tolist() == [4, 5, 6, 7, 8, 9]
    assert held.validation is not None
    assert held.validation.inputs[:, 1].tolist() == [1] * 4  # no word of theirs is in the vocabulary
    for x, y in ((tweet("a"), 2), (["a"], 0), (tweet("a"), True), (7, 0)):
        write(tmp_path, "train", {"ann": ([x], [y])})
        with pytest.raises(UserError, match=r"train_9\.json, user 'ann': "):
            load_dataset("sent140", root=tmp_path)
