"""Reading text that somebody wrote or damaged: whatever is in it, what is wrong with it is one line."""

import json
import os
import stat
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.errors import UserError

# Far beyond any list of clients or rounds, and far below what a machine's memory holds.
_MAX_BYTES = 1 << 30


def read_text(path: Path, what: str = "") -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Parameters
    ----------
    path : Path
        A regular file, or a pipe that the shell has opened (``/dev/stdin``, ``/dev/fd/63``).
    what : str
        What is read, such as a key of the configuration; it begins the message.

    Raises
    ------
    UserError
        If it cannot be read, is a device or a pipe that nobody feeds, or is not UTF-8.
    """
    start = f"{what}: " if what else ""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise UserError(f"{start}cannot read {path}: it is a folder")
        if not (stat.S_ISREG(mode) or str(path).startswith(("/dev/fd/", "/dev/stdin", "/proc/self/fd/"))):
            raise UserError(f"{start}cannot read {path}: it is no regular file")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{start}cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a name with a zero byte
        raise UserError(f"{start}cannot read {str(path)!r}: {error}") from None
    if len(content) > _MAX_BYTES:
        raise UserError(f"{start}{path} has more than {_MAX_BYTES >> 20} MiB: is it the right file?")
    return decode(content, f"{start}{path}")


def decode(content: bytes, source: str) -> str:
    """Decode UTF-8, with or without a byte order mark; `source` names the text in the error."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{source} is not UTF-8 text (byte 0x{content[error.start]:02x} at position {error.start}):"
            " save it as UTF-8"
        ) from None


def parse_json(text: str, source: str) -> Any:
    """Parse JSON; `source` names it in the error.

    Raises
    ------
    UserError
        If it is no JSON, nested too deeply, or has a number that nobody can read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{source} is not valid JSON: it is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON: {error}") from None


def parse_toml_tables(text: str, source: str) -> dict[str, Any]:
    """Parse TOML into nested tables; `source` names it in the error.

    Raises
    ------
    UserError
        If it is no TOML, nested too deeply, or has a number that nobody can read.
    """
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise UserError(f"{source} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # also of numbers with thousands of digits
        raise UserError(f"{source} is not valid TOML: {error}") from None


def expand_user(path: str | Path) -> Path:
    """Return a path with the home folder in place of ``~``, which a shell leaves alone in ``--key=~/x``.

    Raises
    ------
    UserError
        If ``~name`` names nobody.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        raise UserError(f"'{path}' begins with '~', and there is no such home folder") from None


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse arguments of a command line that are not UTF-8, or hold a zero byte.

    Raises
    ------
    UserError
        What cannot be written into ``config.toml`` is refused before it is used for anything.
    """
    for argument in arguments:
        if not is_text(argument):
            shown = os.fsencode(argument) if _is_bytes(argument) else argument
            raise UserError(f"the command line has an argument that is not UTF-8 text: {shown!r}; rename it")


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8 and named as a file."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _is_bytes(value: str) -> bool:
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True
