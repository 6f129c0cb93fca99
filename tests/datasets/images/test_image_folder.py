import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from datasets import load_dataset
from tests.datasets.folders import write_image, write_image_folder


def test_labels_follow_sorted_class_names_and_files(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"ant": 2, "bee": 3}, {"ant": 1, "bee": 1})
    dataset = load_dataset("image-folder", root=tmp_path)
    assert dataset.class_names == ("ant", "bee")
    assert dataset.train.targets.tolist() == [0, 0, 1, 1, 1]
    assert dataset.input_shape == (3, 4, 4)
    assert dataset.train.inputs[:, :, 0, 0].tolist() == [
        [0, 0, 0],
        [0, 1, 0],
        [10, 0, 0],
        [10, 1, 0],
        [10, 2, 0],
    ]
    assert dataset.test.targets.tolist() == [0, 1]


def test_nested_files_are_found_and_others_ignored(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
    write_image(tmp_path / "train" / "ant" / "images" / "deep.JPEG")
    (tmp_path / "train" / "ant" / "boxes.txt").write_text("0 0 4 4")
    assert len(load_dataset("image-folder", root=tmp_path).train) == 2


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
    Image.fromarray(np.full((4, 4), 9, dtype=np.uint8)).save(tmp_path / "train" / "ant" / "grey.png")
    inputs = load_dataset("image-folder", root=tmp_path).train.inputs
    assert inputs[1].unique().tolist() == [9]
    assert inputs.shape[1] == 3


def test_resize_shorter_side_and_crop_the_centre(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
    pixels = np.zeros((8, 24, 3), dtype=np.uint8)
    pixels[:, 8:16] = 200
    Image.fromarray(pixels).save(tmp_path / "train" / "ant" / "wide.png")
    dataset = load_dataset("image-folder", root=tmp_path, image_size=8)
    assert dataset.input_shape == (3, 8, 8)
    assert dataset.train.inputs[1].unique().tolist() == [200]


def test_differing_sizes_need_image_size(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
    write_image(tmp_path / "train" / "ant" / "big.png", width=6, height=5)
    with pytest.raises(UserError, match=r"4x4 and 6x5.*dataset\.image-size"):
        load_dataset("image-folder", root=tmp_path)
    assert not list((tmp_path / ".flowerbed-cache").iterdir())


def test_missing_test_folder_says_what_was_expected(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "ant" / "0.png")
    with pytest.raises(UserError) as caught:
        load_dataset("image-folder", root=tmp_path, download=True)
    assert f"{tmp_path}/test/<class>/*" in str(caught.value)
    assert f"{tmp_path / 'test'} is missing" in str(caught.value)


@pytest.mark.parametrize(
    ("train", "test", "complaint"),
    [
        ({"ant": 1}, {"ant": 1, "wasp": 1}, "wasp"),
        ({"ant": 1, "bee": 0}, {"ant": 1}, "bee: no image files"),
        ({}, {}, "no images"),
        ({"ant": 1}, {}, "no images"),
    ],
)
def test_unusable_folders(
    tmp_path: Path, train: dict[str, int], test: dict[str, int], complaint: str
) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    write_image_folder(tmp_path, train, test)
    with pytest.raises(UserError, match=complaint):
        load_dataset("image-folder", root=tmp_path)


@pytest.mark.parametrize("keep_bytes", [0, 20, 300])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_corrupt_image_is_named(tmp_path: Path, keep_bytes: int, suffix: str) -> None:
    write_image_folder(tmp_path, {"ant": 2}, {"ant": 1})
    broken = tmp_path / "train" / "ant" / f"broken{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(broken)
    os.truncate(broken, keep_bytes)
    with pytest.raises(UserError, match=broken.name):
        load_dataset("image-folder", root=tmp_path)
    assert not list((tmp_path / ".flowerbed-cache").iterdir())
