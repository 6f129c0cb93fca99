"""Many files put on disk together: the wait for a disk is one, not one for each."""

import contextlib
import ctypes
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.files import sync_path

MANY = 256  # from as many files on the whole file system is synchronised, with what others have written there
_AT_ONCE = 16
_REPORTS_ERRORS = (5, 8)  # Linux from which syncfs returns what the disk could not write: man 2 syncfs


@contextlib.contextmanager
def synced_together(folder: Path) -> Iterator[list[Path]]:
    """Yield a list; the files below `folder` that are put into it are on disk at the end of the block.

    So are the folders that they are in, and those that hold these. The files are written in the block, each
    with ``write_atomic(..., synced=False)``. An exception in the block goes through without a wait.

    Raises
    ------
    OSError
        If the disk could not take them.
    """
    written: list[Path] = []
    # Opened before anything is written: errors are reported to who was there when they happened.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield written
        whole = _syncfs() if len(written) >= MANY else None
        device = os.fstat(descriptor).st_dev
        if whole and all(path.stat().st_dev == device for path in _folders(written)):
            whole(descriptor)
        else:
            _sync_each(written)
    finally:
        os.close(descriptor)


def _syncfs() -> Callable[[int], None] | None:
    """Return what puts the file system of a descriptor on disk, and raises if that fails; None without."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if platform.system() != "Linux" or not version or call is None:
        return None
    if (int(version[1]), int(version[2])) < _REPORTS_ERRORS:
        return None

    def sync(descriptor: int) -> None:
        if call(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return sync


def _sync_each(files: Iterable[Path]) -> None:
    """Synchronise files and their folders, many at a time: a disk does these together."""
    files = list(files)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for paths in (files, _folders(files), {path.parent for path in _folders(files)}):
            list(pool.map(sync_path, paths))


def _folders(files: Iterable[Path]) -> set[Path]:
    return {path.parent for path in files}
