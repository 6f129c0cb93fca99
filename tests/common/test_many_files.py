import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import common.many_files
from common.files import write_atomic
from common.many_files import MANY, synced_together


def write(folder: Path, count: int) -> list[Path]:
    """Write files into two folders, and return them."""
    with synced_together(folder) as written:
        for number in range(count):
            path = folder / "inner" / str(number % 2) / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, b"x", synced=False)
            written.append(path)
    return written


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths whose descriptors were synchronised."""
    paths: list[Path] = []
    monkeypatch.setattr(common.many_files, "sync_path", paths.append)
    return paths


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths whose file systems were synchronised."""
    paths: list[Path] = []
    place = "/proc/self/fd/{}".format
    monkeypatch.setattr(
        common.many_files, "_syncfs", lambda: lambda number: paths.append(Path(os.readlink(place(number))))
    )
    return paths


def test_few_files_and_their_folders_are_synchronised_by_themselves(
    tmp_path: Path, synced: list[Path], whole: list[Path]
) -> None:
    files = write(tmp_path, 3)
    folders = [tmp_path / "inner" / name for name in ("0", "1")]
    assert sorted(synced[:3]) == sorted(files)
    assert sorted(synced[3:5]) == folders
    assert synced[5:] == [tmp_path / "inner"]
    assert whole == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_of_many_the_file_system_is(tmp_path: Path, synced: list[Path], whole: list[Path]) -> None:
    write(tmp_path, MANY)
    assert whole == [tmp_path]
    assert synced == []


@pytest.mark.usefixtures("whole")
def test_files_of_another_file_system_are_not_forgotten(
    tmp_path: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stat: Callable[[Path], os.stat_result] = Path.stat

    def elsewhere(path: Path) -> os.stat_result:
        found = stat(path)
        return found if path.name != "1" else os.stat_result([*found[:2], found.st_dev + 1, *found[3:]])

    monkeypatch.setattr(Path, "stat", elsewhere)
    files = write(tmp_path, MANY)
    assert set(files) <= set(synced)


@pytest.mark.parametrize(
    ("system", "release", "is_there"),
    [
        ("Linux", "5.8.0-generic", True),
        ("Linux", "6.18.44", True),
        ("Linux", "5.7.9", False),
        ("Darwin", "23.1", False),
    ],
)
def test_it_is_used_where_it_says_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch, system: str, release: str, is_there: bool
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.release", lambda: release)
    assert (common.many_files._syncfs() is not None) == is_there


@pytest.mark.skipif(
    common.many_files._syncfs() is None, reason="this system has no syncfs that reports errors"
)
def test_the_call_itself_works_and_raises(tmp_path: Path) -> None:
    sync = common.many_files._syncfs()
    assert sync is not None
    descriptor = os.open(tmp_path, os.O_RDONLY)
    sync(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        sync(descriptor)
    assert caught.value.errno == errno.EBADF


def test_an_exception_goes_through_and_nothing_is_waited_for(tmp_path: Path, synced: list[Path]) -> None:
    def fail() -> None:
        with synced_together(tmp_path) as written:
            written.append(tmp_path / "x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert synced == []
