"""The user's request (command line) of a run or a sweep, stored for its report."""

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
    """Return what was asked of a run or a sweep: nothing of one that Flower's own commands started.

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
    """Keep the comment of an experiment file and the command line; what is resumed has several of these.

    Parameters
    ----------
    directory : Path
        The directory of the run or the sweep, which is made if need be.
    experiment : str
        The text of the experiment file.
    arguments : sequence of str
        What followed ``python run_simulation.py``.
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
    """Keep the request of a run that starts in the block; one that is refused leaves nothing behind."""
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
            with contextlib.suppress(OSError):  # it holds something by now
                folder.rmdir()
        raise


def leading_comment(text: str) -> str:
    """Return the comment at the head of a TOML text: lines that follow each other are one paragraph."""
    paragraphs: list[list[str]] = [[]]
    for line in text.removeprefix("\ufeff").splitlines():
        if not line.startswith("#"):
            break
        if words := line.lstrip("#").strip():
            paragraphs[-1].append(words)
        else:
            paragraphs.append([])
    return "\n\n".join(" ".join(lines) for lines in paragraphs if lines)
