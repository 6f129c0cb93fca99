import errno
import json
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from datasets import load_dataset
from datasets.images import cache, image_folder
from datasets.images.raw import RawDataset, RawSplit
from tests.datasets.folders import write_image, write_image_folder


@pytest.fixture
def decoded_files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    decoded: list[Path] = []
    original = image_folder.decode_image

    def counting(path: Path) -> np.ndarray:
        decoded.append(path)
        return original(path)

    monkeypatch.setattr(image_folder, "decode_image", counting)
    return decoded


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_image_folder(tmp_path, {"ant": 3, "bee": 2}, {"ant": 1, "bee": 1})
    return tmp_path


def test_each_image_is_decoded_once(root: Path, decoded_files: list[Path]) -> None:
    first = load_dataset("image-folder", root=root)
    assert len(decoded_files) == 7
    second = load_dataset("image-folder", root=root)
    assert len(decoded_files) == 7
    assert torch.equal(first.train.inputs, second.train.inputs)
    assert (first.mean, first.std, first.class_names) == (second.mean, second.std, second.class_names)


def test_loaded_images_are_mapped_without_warning_and_writes_stay_private(root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load_dataset("image-folder", root=root)
    dataset.train.inputs.zero_()
    assert load_dataset("image-folder", root=root).train.inputs.any()
    (entry,) = (root / ".flowerbed-cache").iterdir()
    decoded = cache.open_entry(root, entry.name, never_read, 0)
    assert isinstance(decoded.train_inputs, np.memmap)


def test_image_size_and_changed_files_make_new_entries(root: Path, decoded_files: list[Path]) -> None:
    load_dataset("image-folder", root=root)
    load_dataset("image-folder", root=root, image_size=2)
    assert len(decoded_files) == 14
    write_image(root / "train" / "ant" / "new.png")
    assert len(load_dataset("image-folder", root=root).train) == 6
    assert len(decoded_files) == 22
    os.utime(root / "train" / "ant" / "new.png", (1, 1))
    load_dataset("image-folder", root=root)
    assert len(decoded_files) == 30


def test_user_cache_is_used_where_the_root_cannot_be_written(root: Path, decoded_files: list[Path]) -> None:
    # A file in the folder's place stops the super-user too, unlike permissions.
    (root / ".flowerbed-cache").write_text("")
    load_dataset("image-folder", root=root)
    load_dataset("image-folder", root=root)
    assert len(decoded_files) == 7
    assert len(list(Path(os.environ["FLOWERBED_CACHE"]).iterdir())) == 1


def test_no_writable_cache_is_a_user_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / ".flowerbed-cache").write_text("")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOWERBED_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set FLOWERBED_CACHE"):
        load_dataset("image-folder", root=root)


def _raw(chunks: Iterator[np.ndarray]) -> RawDataset:
    test = RawSplit([np.ones((1, 1, 2, 2), dtype=np.uint8)], np.zeros(1, dtype=np.int64))
    return RawDataset(RawSplit(chunks, np.zeros(2, dtype=np.int64)), test, ("only",))


def _slow_chunks(barrier: threading.Barrier) -> Iterator[np.ndarray]:
    for value in (3, 4):
        barrier.wait(timeout=30)
        yield np.full((1, 1, 2, 2), value, dtype=np.uint8)


def test_two_writers_at_once_leave_one_complete_entry(tmp_path: Path) -> None:
    barrier = threading.Barrier(2)
    results = []

    def write() -> None:
        results.append(cache.open_entry(tmp_path, "set-1", lambda: _raw(_slow_chunks(barrier)), 0))

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [result.train_inputs[:, 0, 0, 0].tolist() for result in results] == [[3, 4], [3, 4]]
    assert [path.name for path in (tmp_path / ".flowerbed-cache").iterdir()] == ["set-1"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room on the disk, writing to a mapped file ends the process with SIGBUS."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"cannot write the cache .*: No space left on device"):
        cache.open_entry(tmp_path, "set-1", lambda: _raw(iter([np.ones((2, 1, 2, 2), np.uint8)])), 0)
    assert list((tmp_path / ".flowerbed-cache").iterdir()) == []


def test_what_a_killed_writer_left_is_never_loaded_and_later_removed(
    root: Path, decoded_files: list[Path]
) -> None:
    folder = root / ".flowerbed-cache"
    fresh, abandoned = folder / ".partial-fresh", folder / ".partial-abandoned"
    for partial in (fresh, abandoned):
        partial.mkdir(parents=True)
        (partial / "train_inputs.npy").write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(abandoned, (two_days_ago, two_days_ago))
    assert len(load_dataset("image-folder", root=root).train) == 5
    assert fresh.exists()
    assert not abandoned.exists()


FILES = ("train_inputs.npy", "train_targets.npy", "test_inputs.npy", "test_targets.npy", "description.json")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def fewer_labels(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def other_type(path: Path) -> None:
    np.save(path, np.load(path).astype(np.int32))


def no_spread(path: Path) -> None:
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "std": [0.0, 0.0, 0.0]}))


class TestDamage:
    """A damaged entry is never used: it is made again, and the run says so."""

    @pytest.mark.parametrize(
        ("file", "damage"),
        [
            *((file, damage) for file in FILES for damage in (flip, halve, empty, pipe, Path.unlink)),
            ("train_targets.npy", fewer_labels),
            ("test_targets.npy", other_type),
            ("description.json", no_spread),
        ],
    )
    def test_it_is_made_again(
        self, root: Path, decoded_files: list[Path], file: str, damage: Callable[[Path], None]
    ) -> None:
        whole = load_dataset("image-folder", root=root)
        inputs = whole.train.inputs.clone()  # not a map of what is about to be damaged
        (entry,) = (root / ".flowerbed-cache").iterdir()
        damage(entry / file)
        again = load_dataset("image-folder", root=root)
        assert len(decoded_files) == 14
        assert torch.equal(again.train.inputs, inputs)
        assert (again.mean, again.std) == (whole.mean, whole.std)
        (remark,) = again.remarks
        assert remark.startswith(f"the cache {entry} was damaged")
        assert remark.endswith("it was made again from the source")
        assert "\n" not in remark
        assert load_dataset("image-folder", root=root).remarks == ()
        assert [path.name for path in entry.parent.iterdir()] == [entry.name]

    def test_a_file_where_the_entry_should_be(self, root: Path) -> None:
        load_dataset("image-folder", root=root)
        (entry,) = (root / ".flowerbed-cache").iterdir()
        shutil.rmtree(entry)
        entry.write_text("")
        assert len(load_dataset("image-folder", root=root).train) == 5
        assert entry.is_dir()

    def test_without_a_readable_source_it_is_refused_in_one_line(self, root: Path) -> None:
        load_dataset("image-folder", root=root)
        (entry,) = (root / ".flowerbed-cache").iterdir()
        flip(entry / "train_inputs.npy")
        image = root / "train" / "ant" / "0.png"
        status = image.stat()
        image.write_bytes(b"x" * status.st_size)
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(UserError, match=r"was damaged .*and cannot be made again: .*0\.png") as raised:
            load_dataset("image-folder", root=root)
        assert "\n" not in str(raised.value)

    def test_where_it_cannot_be_deleted_the_user_has_a_cache_of_its_own(
        self, root: Path, decoded_files: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load_dataset("image-folder", root=root)
        (entry,) = (root / ".flowerbed-cache").iterdir()
        flip(entry / "train_inputs.npy")
        monkeypatch.setattr(cache, "_discard", lambda folder: None)
        real = tempfile.mkdtemp

        def make(prefix: str, dir: Path) -> str:
            if dir == entry.parent:
                raise PermissionError
            return real(prefix=prefix, dir=dir)

        monkeypatch.setattr(tempfile, "mkdtemp", make)
        assert load_dataset("image-folder", root=root).remarks[0].endswith("made again from the source")
        assert load_dataset("image-folder", root=root).remarks[0].endswith("another copy is used")
        assert len(decoded_files) == 14

    def test_unchanged_files_are_summed_once_in_a_process(
        self, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load_dataset("image-folder", root=root)
        summed = cache._crc32_once.cache_info().misses
        load_dataset("image-folder", root=root)
        assert cache._crc32_once.cache_info().misses == summed


def never_read() -> RawDataset:
    raise AssertionError("the entry is there")


def test_broken_link_is_a_user_error(root: Path) -> None:
    (root / "train" / "ant" / "gone.png").symlink_to(root / "nowhere.png")
    with pytest.raises(UserError, match=r"gone\.png is a broken link"):
        load_dataset("image-folder", root=root)
