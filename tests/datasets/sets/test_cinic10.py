"""CINIC-10 as its archive unpacks."""

from pathlib import Path

import pytest

from common.errors import UserError
from datasets import load_dataset
from tests.datasets.folders import write_image_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def test_train_and_test_are_read_and_valid_is_not(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "CINIC-10", dict.fromkeys(CLASSES, 2), dict.fromkeys(CLASSES, 1))
    (tmp_path / "CINIC-10" / "valid" / "zebra").mkdir(parents=True)
    dataset = load_dataset("cinic10", root=tmp_path)
    assert (len(dataset.train), len(dataset.test), dataset.class_names) == (20, 10, CLASSES)
    assert dataset.train.inputs[6, :, 0, 0].tolist() == [30, 0, 0]
    assert dataset.mean == (0.47889522, 0.47227842, 0.43047404)
    assert dataset.std == (0.24205776, 0.23828046, 0.25874835)
    assert load_dataset("cinic10", root=tmp_path).mean == dataset.mean  # from the cache, too


def test_a_missing_archive_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset("cinic10", root=tmp_path)
    assert f"expected {tmp_path}/CINIC-10/train/<class>/*" in str(caught.value)
    assert "CINIC-10/train is missing" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    wrong = dict.fromkeys((*CLASSES[:-1], "tractor"), 1)
    write_image_folder(tmp_path / "CINIC-10", wrong, wrong)
    with pytest.raises(UserError, match=r"is not CINIC-10's: .* 'tractor' is one too many or missing"):
        load_dataset("cinic10", root=tmp_path)
