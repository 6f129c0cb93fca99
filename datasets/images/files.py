"""Which files and folders belong to a data set: not hidden ones, pipes, devices or broken links."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.errors import UserError
from common.files import kind_of

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Image formats that are not read: a user might expect that they are.
_NOT_READ = frozenset((
    ".avif", ".dng", ".gif", ".heic", ".heif", ".ico", ".jfif", ".jp2", ".jpe", ".jxl", ".pnm", ".psd",
    ".svg", ".tga",
))  # fmt: skip
# What macOS, Windows and network drives leave next to the user's files.
_LEFT_BY_SYSTEMS = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "lost+found"})


def is_hidden(name: str) -> bool:
    """Return whether tools or systems made a file or folder: ``.ipynb_checkpoints``, ``._cat.png``."""
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder that are not hidden, sorted by name.

    Raises
    ------
    UserError
        If it is not a folder or cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda e: e.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror or error}") from None


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, links included; broken links are refused."""
    names = []
    for entry in list_folder(folder):
        if entry.is_symlink() and not os.path.exists(entry.path):
            raise _broken_link(entry.path)
        if entry.is_dir():
            names.append(entry.name)
    return names


def walk(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files below a folder that are not hidden, with their status; links are followed.

    A broken link has the status of the link itself.

    Raises
    ------
    UserError
        If a folder cannot be read, or a link leads back to a folder that contains it.
    """
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        raise UserError(f"{folder} is a link to a folder that holds it: delete the link")
    for entry in list_folder(folder):
        path = Path(entry.path)
        try:
            status = entry.stat()
        except OSError:  # a broken link, or one to itself
            status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield from walk(path, (*above, identity))
        else:
            yield path, status


def image_files(folder: Path) -> list[Path]:
    """Return the images below a folder, sorted by path: files with one of `ENDINGS`, in any case.

    Raises
    ------
    UserError
        As `walk`, and if a pipe, a device or a broken link has the ending of an image.
    """
    found = []
    for path, status in walk(folder):
        if path.suffix.lower() not in ENDINGS:
            continue
        if stat.S_ISLNK(status.st_mode):
            raise _broken_link(path)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{path} is {kind_of(status.st_mode)}, not an image: move it away")
        found.append(path)
    return sorted(found)


def left_out(folders: Iterable[Path]) -> tuple[str, ...]:
    """Return a remark on images in formats that are not read; empty if there are none."""
    found: list[str] = []
    for folder in folders:
        for above, names, files in os.walk(folder, followlinks=False):
            names[:] = [name for name in names if not is_hidden(name)]
            found += (
                os.path.join(above, name)
                for name in files
                if os.path.splitext(name)[1].lower() in _NOT_READ and not is_hidden(name)
            )
    if not found:
        return ()
    named = f"{len(found)} images are" if found[1:] else "an image is"
    return (f"{named} left out, since such files are not read: {printable(min(found))}",)


def printable(name: str) -> str:
    """Return a printable form of a file name: bytes that are not UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _broken_link(path: str | Path) -> UserError:
    return UserError(f"{path} is a broken link: repair or delete it")
