from pathlib import Path

import pytest
import torch
from flwr.app import ConfigRecord

from clients.base import Client
from clients.local.worker import Worker
from common.errors import UserError
from datasets import load_dataset
from datasets.configured import open_dataset
from datasets.images.image_lists import read_image_list
from datasets.partition_scheme import partition_clients
from tests.clients.jobs import small
from tests.datasets.folders import write_image

ROUND = ConfigRecord({"server-round": 1})
TRAIN = (
    "# path label user\n"
    "a/0.png 0 ann\na/1.png 0 bob\n\nb/0.png 1 ann\nb/1.png 1 eve\n"
    "a/2.png 0 ann\nb/2.png 1 bob\nc/0.png 2 ann\n"
)
TEST = "t/0.png 0 ann\nt/1.png 1 bob\nt/2.png 2 ann\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for value, path in enumerate(line.split()[0] for line in (TRAIN + TEST).splitlines() if ".png" in line):
        write_image(tmp_path / path, value=value)
    (tmp_path / "train.txt").write_text(TRAIN)
    (tmp_path / "test.txt").write_text(TEST)
    return tmp_path


def keys(root: Path, **others: object) -> dict[str, object]:
    return {
        "dataset__name": "image-folder",
        "dataset__root": str(root),
        "dataset__list_file": "train.txt",
        "dataset__test_list_file": "test.txt",
        "model__name": "linear",
        **others,
    }


def test_images_come_in_the_order_of_the_list(root: Path) -> None:
    lists = {"list-file": "train.txt", "test-list-file": "test.txt"}
    dataset = load_dataset("image-folder", root=root, parameters=lists)
    assert dataset.train.targets.tolist() == [0, 0, 1, 1, 0, 1, 2]
    assert dataset.train.inputs[:, 0, 0, 0].tolist() == list(range(7))
    assert dataset.test.targets.tolist() == [0, 1, 2]
    assert dataset.num_classes == 3
    assert dataset.client_names == ("ann", "bob", "eve")
    assert dataset.train.clients is not None
    assert dataset.train.clients.tolist() == [0, 1, 0, 2, 0, 1, 0]
    again = load_dataset("image-folder", root=root, parameters=lists)  # from the cache
    assert torch.equal(again.train.inputs, dataset.train.inputs)
    (root / "train.txt").write_text(TRAIN.replace("c/0.png 2", "c/0.png 1") + "c/0.png 2 ann\n")
    changed = load_dataset("image-folder", root=root, parameters=lists)
    assert changed.train.targets.tolist() == [0, 0, 1, 1, 0, 1, 1, 2]


def test_users_are_natural_clients(root: Path) -> None:
    config = small(**keys(root, partition__name="natural", clients__count=2))  # type: ignore[arg-type]
    dataset = open_dataset(config)
    assert [part.tolist() for part in partition_clients(config, dataset)] == [[0, 2, 3, 5], [1, 4]]
    assert dataset.train.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 4, 5, 6]
    worker = Worker(config)
    results = worker.model.state_dict()
    metrics = [Client(worker, client).test({"arrays": results}, ROUND) for client in (0, 1)]
    assert all("accuracy" in row for row in metrics)


def test_a_test_list_without_users_is_for_all(root: Path) -> None:
    (root / "test.txt").write_text(TEST.replace(" ann", "").replace(" bob", ""))
    config = small(  # type: ignore[arg-type]
        **keys(root, partition__name="natural", clients__count=2, evaluate__groups="counts")
    )
    worker = Worker(config)
    metrics = Client(worker, 1).test({"arrays": worker.model.state_dict()}, ROUND)
    assert "accuracy_tail" in metrics  # all classes are small


def test_other_partitions_deal_all_images(root: Path) -> None:
    config = small(**keys(root, partition__name="iid", clients__count=2))  # type: ignore[arg-type]
    assert sum(map(len, partition_clients(config, open_dataset(config)))) == 7


def test_commas_separate_too(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("a b.png, 3\nc.png,0\n")
    images = read_image_list(tmp_path / "list.csv", "dataset.list-file")
    assert images.paths == ("a b.png", "c.png")
    assert images.targets.tolist() == [3, 0]
    assert images.users == ()


@pytest.mark.parametrize(
    ("train", "test", "complaint"),
    [
        ("a/0.png\n", TEST, r"train.txt, line 1: expected a path, a label"),
        ("a/0.png cat\n", TEST, r"line 1: expected a path, a label"),
        ("a/0.png 0 ann\nb/0.png 1\n", TEST, r"line 2: a user in some lines and none in others"),
        ("\n", TEST, r"names no images"),
        ("a/0.png 0\na/9.png 1\nc/0.png 2\n", "t/0.png 0\n", r"a/9.png, which is missing"),
        ("a/0.png 0\nb/0.png 2\n", "t/0.png 0\n", r"class 1 of 3 has no training image"),
        (TRAIN, "t/0.png 0 zoe\n", r"user 'zoe' has no image in"),
    ],
)
def test_damaged_lists(root: Path, train: str, test: str, complaint: str) -> None:
    (root / "train.txt").write_text(train)
    (root / "test.txt").write_text(test)
    with pytest.raises(UserError, match=complaint):
        open_dataset(small(**keys(root, partition__name="iid")))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        ({"dataset__test_list_file": ""}, "dataset.list-file needs test images: set dataset.test-list-file"),
        ({"dataset__list_file": ""}, "dataset.test-list-file needs dataset.list-file"),
        ({"dataset__list_file": "no.txt"}, r"dataset.list-file: cannot read .*no\.txt: No such file"),
        ({"dataset__test_folder": "val"}, "dataset.test-folder is for folders"),
        ({"dataset__test_fraction": 0.2}, "and dataset.test-list-file names others"),
        ({"partition__name": "natural", "clients__count": 4}, "has 3 users: lower it"),
    ],
)
def test_impossible_keys(root: Path, others: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        open_dataset(small(**keys(root, **others)))  # type: ignore[arg-type]
