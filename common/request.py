"""The user's request for a run or a sweep, stored with it for its report."""

import contextlib
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.files import read_json, write_atomic

REQUEST_FILE = "request.json"


@dataclass(frozen=True)
class Request:
    """The comment at the head of the experiment file, and every command that worked in the directory."""

    comment: str = ""
    commands: tuple[str, ...] = ()


def read_request(directory: Path) -> Request:
    """Return the request of a run or a sweep; empty if Flower's own commands started it.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = directory / REQUEST_FILE
    if not path.exists():
        return Request()
    content = read_json(path)
    try:
        comment, commands = content["comment"], content["commands"]
        if not all(isinstance(text, str) for text in (comment, *commands)):
            raise TypeError
    except (LookupError, TypeError):
        raise UserError(f"{path} is damaged: delete it, nothing but the report needs it") from None
    return Request(comment, tuple(commands))


def write_request(directory: Path, experiment: str, arguments: Sequence[str]) -> None:
    """Store the comment of an experiment file and the command line; resumed runs have several of these.

    Parameters
    ----------
    directory : Path
        The directory of the run or the sweep, created if needed.
    experiment : str
        The text of the experiment file.
    arguments : sequence of str
        The arguments of ``python run_simulation.py``.
    """
    try:
        before = read_request(directory)
    except UserError:
        before = Request()
    content = {
        "comment": leading_comment(experiment) or before.comment,
        "commands": [*before.commands, shlex.join(["python", "run_simulation.py", *arguments])],
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_atomic(directory / REQUEST_FILE, (json.dumps(content, indent=2) + "\n").encode())


@contextlib.contextmanager
def keeping_request(directory: Path, experiment: str, arguments: Sequence[str]) -> Iterator[None]:
    """Store the request of a run that starts in the block; a run that is refused leaves nothing behind."""
    path = directory / REQUEST_FILE
    before = path.read_bytes() if path.is_file() else None
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    write_request(directory, experiment, arguments)
    try:
        yield
    except UserError:
        if before is not None:
            write_atomic(path, before)
        else:
            path.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):  # the directory is not empty
                folder.rmdir()
        raise


def leading_comment(text: str) -> str:
    """Return the comment at the head of a TOML text: consecutive lines form a paragraph."""
    paragraphs: list[list[str]] = [[]]
    for line in text.removeprefix("\ufeff").splitlines():
        if not line.startswith("#"):
            break
        if words := line.lstrip("#").strip():
            paragraphs[-1].append(words)
        else:
            paragraphs.append([])
    return "\n\n".join(" ".join(lines) for lines in paragraphs if lines)
