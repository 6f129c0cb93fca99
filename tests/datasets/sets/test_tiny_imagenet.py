"""Tiny-ImageNet as its archive unpacks."""

from pathlib import Path

import pytest

from common.errors import UserError
from datasets import load_dataset
from tests.datasets.folders import write_image

ANNOTATIONS = "val_0.JPEG\tn02\t0\t0\t62\t62\nval_1.JPEG\tn01\t1\t2\t3\t4\n"


def written(root: Path) -> Path:
    for name, value in (("n01", 0), ("n02", 200)):
        write_image(root / "train" / name / "images" / f"{name}_0.JPEG", value=value)
        (root / "train" / name / f"{name}_boxes.txt").write_text("n01_0.JPEG\t0\t0\t1\t1\n")
    for index, value in enumerate((100, 50)):
        write_image(root / "val" / "images" / f"val_{index}.JPEG", value=value)
    (root / "val" / "val_annotations.txt").write_text(ANNOTATIONS)
    (root / "words.txt").write_text("n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tsalamander\n")
    return root


def test_classes_of_the_test_images_are_those_of_the_annotations(tmp_path: Path) -> None:
    root = written(tmp_path / "tiny-imagenet-200")
    for folder in (tmp_path, root):
        dataset = load_dataset("tiny-imagenet", root=folder)
        assert dataset.train.inputs[:, 0, 0, 0].tolist() == [0, 200]
        assert dataset.test.inputs[:, 0, 0, 0].tolist() == [100, 50]
        assert (dataset.train.targets.tolist(), dataset.test.targets.tolist()) == ([0, 1], [1, 0])
        assert dataset.class_names == ("goldfish", "salamander")


def test_missing_and_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected .*tiny-imagenet-200/train/<wnid>.*tiny-imagenet-200\.zip"):
        load_dataset("tiny-imagenet", root=tmp_path)
    written(tmp_path)
    for text, message in (
        ("val_0.JPEG\tn03\n", "line 1: expected the name of an image and a class"),
        ("val_0.JPEG n01\n", "line 1: expected the name of an image and a class"),
        ("val_0.JPEG\tn01\nval_9.JPEG\tn01\n", "line 2: there is no image"),
        ("../../words.txt\tn01\n", "line 1: there is no image"),
        ("\n", "names no images"),
    ):
        (tmp_path / "val" / "val_annotations.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            load_dataset("tiny-imagenet", root=tmp_path)
