import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from datasets import load_dataset
from datasets.dataset import Dataset
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


def test_images_that_are_not_read_are_counted(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
    assert load_dataset("image-folder", root=tmp_path).remarks == ()
    for name in ("train/ant/a.GIF", "test/ant/b.heic", "train/ant/._c.gif", "train/ant/notes.md"):
        (tmp_path / name).write_bytes(b"GIF89a")
    first = tmp_path / "test/ant/b.heic"
    expected = (f"2 images are left out, since such files are not read: {first}",)
    assert load_dataset("image-folder", root=tmp_path).remarks == expected


@pytest.mark.parametrize("folder", ["../{}/train", "train/ant", ".", "linked"])
def test_test_images_that_are_trained_on(tmp_path: Path, folder: str) -> None:
    write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
    (tmp_path / "linked").symlink_to(tmp_path / "train")
    with pytest.raises(UserError, match=r"dataset\.test-folder"):
        load_dataset("image-folder", root=tmp_path, parameters={"test-folder": folder.format(tmp_path.name)})


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


def test_classes_without_a_training_folder_above_them_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "ant" / "0.png")
    write_image(tmp_path / "bee" / "0.png")
    with pytest.raises(
        UserError, match=r"train is missing: if ant, bee are classes, move their folders into"
    ):
        load_dataset("image-folder", root=tmp_path)
    with pytest.raises(UserError, match=r"train is missing$"):
        load_dataset("image-folder", root=tmp_path / "ant")


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


class TestWhatIsNotAnImage:
    @pytest.mark.parametrize(
        "hidden", [".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", ".DS_Store", "._ant", "$RECYCLE.BIN"]
    )
    def test_hidden_folders_are_no_classes(self, tmp_path: Path, hidden: str) -> None:
        write_image_folder(tmp_path, {"ant": 2, "bee": 1}, {"ant": 1, "bee": 1})
        whole = load_dataset("image-folder", root=tmp_path)
        for place in ("train", "test", "train/ant"):
            write_image(tmp_path / place / hidden / "x.png", value=99)
        again = load_dataset("image-folder", root=tmp_path)
        assert again.class_names == whole.class_names == ("ant", "bee")
        assert again.train.targets.tolist() == [0, 0, 1]
        assert again.train.inputs.tolist() == whole.train.inputs.tolist()
        assert len(list((tmp_path / ".flowerbed-cache").iterdir())) == 1  # not even a new entry

    def test_hidden_files_do_not_count(self, tmp_path: Path) -> None:
        write_image_folder(tmp_path, {"ant": 2}, {"ant": 1})
        for name in ("._0.png", ".hidden.png", "Thumbs.db", "desktop.ini", ".DS_Store"):
            (tmp_path / "train" / "ant" / name).write_bytes(b"not an image")
        assert len(load_dataset("image-folder", root=tmp_path).train) == 2

    def test_a_class_of_hidden_files_is_empty_and_the_endings_are_named(self, tmp_path: Path) -> None:
        write_image_folder(tmp_path, {"ant": 1, "bee": 0}, {"ant": 1})
        write_image(tmp_path / "train" / "bee" / "._0.png")
        (tmp_path / "train" / "bee" / "x.gif").write_bytes(b"")
        with pytest.raises(UserError, match=r"bee: no image files in it .*\.bmp, \.jpeg, .*\.webp\)"):
            load_dataset("image-folder", root=tmp_path)

    @pytest.mark.parametrize("name", ["x.png", "notes"])
    def test_pipes_devices_and_sockets_never_hang(self, tmp_path: Path, name: str) -> None:
        write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
        folder = tmp_path / "train" / "ant"
        with socket.socket(socket.AF_UNIX) as server:
            for make, kind in (
                (os.mkfifo, "a pipe"),
                (lambda path: path.symlink_to("/dev/zero"), "a device"),
                (lambda path: server.bind(str(path)), "a socket"),
            ):
                make(folder / name)
                if name == "notes":  # it does not pretend to be an image
                    assert len(load_dataset("image-folder", root=tmp_path).train) == 1
                else:
                    with pytest.raises(UserError, match=rf"x\.png is {kind}, not an image"):
                        load_dataset("image-folder", root=tmp_path)
                (folder / name).unlink()

    def test_links_to_nothing(self, tmp_path: Path) -> None:
        write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
        (tmp_path / "train" / "ant" / "README").symlink_to("nowhere")
        assert len(load_dataset("image-folder", root=tmp_path).train) == 1
        (tmp_path / "train" / "bee").symlink_to("nowhere")
        with pytest.raises(UserError, match="train/bee is a broken link"):
            load_dataset("image-folder", root=tmp_path)

    def test_a_link_to_a_folder_above_is_no_endless_set(self, tmp_path: Path) -> None:
        write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
        (tmp_path / "train" / "ant" / "again").symlink_to(tmp_path / "train")
        with pytest.raises(UserError, match="is a link to a folder that holds it"):
            load_dataset("image-folder", root=tmp_path)

    def test_links_to_folders_and_files_elsewhere_count(self, tmp_path: Path) -> None:
        write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
        write_image(tmp_path / "elsewhere" / "0.png", value=5)
        (tmp_path / "train" / "bee").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "train" / "ant" / "1.png").symlink_to(tmp_path / "elsewhere" / "0.png")
        assert load_dataset("image-folder", root=tmp_path).train.targets.tolist() == [0, 0, 1]

    @pytest.mark.parametrize("name", ["train", "test"])
    def test_a_file_in_the_place_of_a_folder(self, tmp_path: Path, name: str) -> None:
        write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
        shutil.rmtree(tmp_path / name)
        (tmp_path / name).write_text("")
        with pytest.raises(UserError, match=f"cannot read the folder .*{name}: Not a directory"):
            load_dataset("image-folder", root=tmp_path)

    def test_names_that_are_not_utf8(self, tmp_path: Path) -> None:
        write_image_folder(tmp_path, {"ant": 1}, {"ant": 1})
        odd = Path(os.fsdecode(os.fsencode(tmp_path / "train") + b"/caf\xe9"))
        write_image(odd / os.fsdecode(b"\xff.png"))
        dataset = load_dataset("image-folder", root=tmp_path)
        assert dataset.class_names == ("ant", "caf\\xe9")
        "".join(dataset.class_names).encode()


class TestTestImages:
    """Where they come from if there is no folder ``test``."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        write_image_folder(tmp_path, {"ant": 10, "bee": 5}, {})
        return tmp_path

    def load(self, root: Path, seed: int = 0, **parameters: float | str) -> Dataset:
        given = {key.replace("_", "-"): value for key, value in parameters.items()}
        return load_dataset("image-folder", root=root, seed=seed, parameters=given)

    def test_a_fraction_is_split_off_by_class(self, root: Path) -> None:
        dataset = self.load(root, test_fraction=0.2)
        assert torch.bincount(dataset.train.targets).tolist() == [8, 4]
        assert torch.bincount(dataset.test.targets).tolist() == [2, 1]
        # Class and number are the pixels, so no image is in both.
        both = torch.cat([dataset.train.inputs, dataset.test.inputs])[:, :2, 0, 0].tolist()
        assert sorted(both) == sorted([[0, i] for i in range(10)] + [[10, i] for i in range(5)])
        assert dataset.remarks == ("3 of 15 images are the test set (dataset.test-fraction)",)

    def test_the_seed_decides_which(self, root: Path) -> None:
        def chosen(seed: int) -> list[list[int]]:
            return self.load(root, seed, test_fraction=0.4).test.inputs[:, :2, 0, 0].tolist()  # type: ignore[no-any-return]

        assert chosen(1) == chosen(1)
        assert len({str(chosen(seed)) for seed in range(5)}) > 1
        assert len(list((root / ".flowerbed-cache").iterdir())) == 1  # decoded once for all seeds

    def test_the_statistics_are_those_of_the_training_images_alone(self, root: Path) -> None:
        dataset = self.load(root, test_fraction=0.2)
        values = dataset.train.inputs.double().transpose(0, 1).flatten(1) / 255
        torch.testing.assert_close(torch.tensor(dataset.mean).double(), values.mean(1), rtol=0, atol=1e-6)
        spread = values.std(1, correction=0)
        torch.testing.assert_close(torch.tensor(dataset.std).double(), spread, rtol=0, atol=1e-6)

    def test_a_folder_of_another_name_is_taken_if_named(self, root: Path) -> None:
        write_image(root / "val" / "bee" / "0.png")
        with pytest.raises(UserError) as raised:
            self.load(root)
        assert f"{root / 'test'} is missing" in str(raised.value)
        assert "set dataset.test-folder = 'val'" in str(raised.value)
        assert "dataset.test-fraction" in str(raised.value)
        dataset = self.load(root, test_folder="val")
        assert dataset.test.targets.tolist() == [1]
        assert len(dataset.train) == 15

    @pytest.mark.parametrize(
        ("parameters", "complaint"),
        [
            ({"test_fraction": 0.2, "test_folder": "val"}, "and dataset.test-folder names others"),
            ({"test_fraction": 0.01}, "dataset.test-fraction 0.01 of 15 samples is none"),
            ({"test_fraction": 0.99}, "leaves a class without training samples"),
            ({"test_fraction": 1.0}, "dataset.test-fraction must be less than 1"),
            ({"test_fraction": -0.1}, "dataset.test-fraction must be greater than or equal to 0"),
            ({"test_folder": ""}, "dataset.test-folder must name a folder"),
            ({"test_folder": "train"}, "dataset.test-folder must name a folder"),
            ({"test_folder": "nowhere"}, "nowhere is missing: set dataset.test-fraction"),
        ],
    )
    def test_impossible_ones(self, root: Path, parameters: dict[str, float | str], complaint: str) -> None:
        with pytest.raises(UserError, match=complaint):
            self.load(root, **parameters)

    def test_a_test_folder_is_left_alone_if_a_fraction_is_asked_for(self, root: Path) -> None:
        (root / "test").mkdir(exist_ok=True)
        (root / "test" / "0001.jpg").write_bytes(b"without a label")
        assert len(self.load(root, test_fraction=0.2).test) == 3

    def test_other_data_sets_have_their_own(self) -> None:
        with pytest.raises(UserError, match=r"no parameter 'dataset\.test-fraction'"):
            load_dataset("digits", root=".", parameters={"test-fraction": 0.2})

    def test_a_list_can_be_split_as_well(self, tmp_path: Path) -> None:
        lines = []
        for number in range(10):
            write_image(tmp_path / f"{number}.png", value=number)
            lines.append(f"{number}.png {number % 2} user{number}\n")
        (tmp_path / "all.txt").write_text("".join(lines))
        dataset = self.load(tmp_path, list_file="all.txt", test_fraction=0.4)
        assert dataset.test.clients is not None
        for split in (dataset.train, dataset.test):
            assert split.clients is not None
            values = split.inputs[:, 0, 0, 0]
            assert split.targets.tolist() == (values % 2).tolist()
            assert [dataset.client_names[c] for c in split.clients] == [f"user{v}" for v in values]
        assert torch.bincount(dataset.test.targets).tolist() == [2, 2]
