import os
from pathlib import Path

import pytest

from common.files import write_atomic


def test_content_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, b"old content")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_old_content_survives_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: BaseException
) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, b"old")

    def fail(*arguments: object) -> None:
        # What was written so far is in the temporary file, never in the target.
        assert path.read_bytes() == b"old"
        raise error

    monkeypatch.setattr(*((os, "fsync") if function == "fsync" else (Path, "replace")), fail)
    with pytest.raises(type(error)):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced_before = tmp_path / "x", []
    original = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced_before.append(path.exists()), original(fd)))
    write_atomic(path, b"x")
    assert synced_before == [False, True]  # the file, then the directory that names it
