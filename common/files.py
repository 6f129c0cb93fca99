"""Files: written so that a kill leaves the old or the new content, read so that nothing hangs."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common.errors import UserError, shown
from common.reading import parse_json

# No text that a person names is larger; a sparse file can pretend to be.
_MOST_TEXT = 2**30
_SYNCED_AT_ONCE = 16


def write_atomic(path: Path, content: bytes, mode: int = 0o666, synced: bool = True) -> None:
    """Write `content` to `path` in one step, on disk when this returns; if not `synced`, after `sync`.

    `mode` is the file's from its first byte on, less what the process masks.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if synced:
        _sync(path.parent)


def sync(paths: Iterable[Path]) -> None:
    """Put files on disk, and the folders that they are in, many at a time: a disk does these together."""
    files = list(paths)
    with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
        for written in (files, {path.parent for path in files}, {path.parent.parent for path in files}):
            list(pool.map(_sync, written))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def expanded(path: str | Path, key: str) -> Path:
    """Return a path that a person gave, with ``~`` written out; `key` is the configuration's name for it.

    Raises
    ------
    UserError
        If it can be no path here: an unknown user's home, a name that is too long, links in a circle.
    """
    try:
        result = Path(path).expanduser()
        with contextlib.suppress(ValueError):  # a null character: there is no such file
            result.stat()
    except RuntimeError as error:
        raise UserError(f"{key}: cannot use the path {shown(str(path))}: {error}") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{key}: cannot use the path {shown(str(path))}: {error.strerror}") from None
    return result


def user_cache() -> Path:
    """Return the folder of what is kept for later runs: ``FLOWERBED_CACHE``, or ``~/.cache/flowerbed``."""
    return expanded(os.environ.get("FLOWERBED_CACHE") or "~/.cache/flowerbed", "FLOWERBED_CACHE")


def read_regular(path: Path, most: int | None = None) -> bytes:
    """Read a file; a pipe or a device is refused unopened, since reading it might never end.

    Raises
    ------
    OSError
        If there is no such file, it is of another kind or has more than `most` bytes, or it cannot be read.
    """
    try:
        status = path.stat()
    except ValueError as error:  # a null character in the name
        raise OSError(errno.EINVAL, str(error)) from None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind_of(status.st_mode)}, not a file")
    if most is not None and status.st_size > most:
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, more than {most}")
    return path.read_bytes()


def kind_of(mode: int) -> str:
    """Name what the mode of a path says that it is."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def read_text(path: Path, key: str = "") -> str:
    """Read a text file that somebody named; a byte order mark does not count.

    Parameters
    ----------
    path : Path
        The file.
    key : str, default ""
        What of the configuration names it, for the message.

    Raises
    ------
    UserError
        If there is no such file, or it is not UTF-8.
    """
    prefix = f"{key}: " if key else ""
    try:
        return read_regular(path, _MOST_TEXT).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{prefix}cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{prefix}cannot read {path}: it is not UTF-8 text (see byte {error.start}): save it as UTF-8"
        ) from None


def read_json(path: Path, key: str = "") -> Any:
    """Read a JSON file that somebody named.

    Raises
    ------
    UserError
        As `read_text`, and if it is not JSON.
    """
    prefix = f"{key}: " if key else ""
    return parse_json(read_text(path, key), f"{prefix}{path}")
