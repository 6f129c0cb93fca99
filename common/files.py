"""Files: atomic writes that survive a kill, and reads that cannot hang."""

import errno
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common.errors import UserError, shown
from common.reading import parse_json

# No text file of a user is larger; a sparse file may appear to be.
_MAX_TEXT = 2**30
_SYNCED_AT_ONCE = 16


def write_atomic(path: Path, content: bytes, mode: int = 0o666, synced: bool = True) -> None:
    """Write `content` to `path` in one step, on disk when this returns; if not `synced`, after `sync`.

    The file has `mode`, less the umask, from its first byte on.
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
    """Sync files and their folders to disk, many at a time, since a disk can combine them."""
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
    """Return a user's path with ``~`` expanded; `key` is the configuration key that holds it.

    Raises
    ------
    UserError
        If it is empty, or cannot be a path here: a zero byte, an unknown user's home, a name that is too
        long, circular links.
    """
    if path == "":  # Path("") would be the current folder
        raise UserError(f"{key}: a path is empty; is a variable of the shell not set?")
    try:
        result = Path(path).expanduser()
        result.stat()
    except ValueError:
        raise UserError(f"{key} is not UTF-8 text, or holds a zero byte: {shown(str(path))}") from None
    except RuntimeError as error:
        raise UserError(f"{key}: cannot use the path {shown(str(path))}: {error}") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UserError(f"{key}: cannot use the path {shown(str(path))}: {error.strerror}") from None
    return result


def user_cache() -> Path:
    """Return the user's cache folder: ``FLOWERBED_CACHE``, or ``~/.cache/flowerbed``."""
    return expanded(os.environ.get("FLOWERBED_CACHE") or "~/.cache/flowerbed", "FLOWERBED_CACHE")


def read_regular(path: Path, most: int | None = None) -> bytes:
    """Read a file; a pipe or a device is refused unopened, since reading it might never end.

    Raises
    ------
    OSError
        If it is missing, not a regular file, larger than `most` bytes, or cannot be read.
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
    """Return the name of the file type in a path's mode."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def read_text(path: Path, key: str = "") -> str:
    """Read a user's text file, without its byte order mark.

    Parameters
    ----------
    path : Path
        The file.
    key : str, default ""
        Configuration key that names it, for the message.

    Raises
    ------
    UserError
        If there is no such file, or it is not UTF-8.
    """
    prefix = f"{key}: " if key else ""
    try:
        return read_regular(path, _MAX_TEXT).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{prefix}cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{prefix}cannot read {path}: it is not UTF-8 text (see byte {error.start}): save it as UTF-8"
        ) from None


def read_json(path: Path) -> Any:
    """Read a user's JSON file.

    Raises
    ------
    UserError
        As `read_text`, and if it is not JSON.
    """
    return parse_json(read_text(path), str(path))
