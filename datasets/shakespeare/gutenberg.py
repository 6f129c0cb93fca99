"""Project Gutenberg's complete works (the 1994 edition, ``100.txt``), read as LEAF reads them.

Caldas et al., "LEAF: A Benchmark for Federated Settings", 2018; ``preprocess_shakespeare.py`` of its code.
Its quirks are kept, since they define the clients: a role continues to speak until the next one does, so that
it also speaks the stage directions in between.
"""

import re
from pathlib import Path

from common.errors import UserError
from datasets.shakespeare.roles import Cast, Role, read_play

_AUTHOR = "by William Shakespeare"
_LINES_ABOVE_AUTHOR = 5
_LAST_LINE = 124195

_ROLE_LINE = re.compile(r"  ([a-zA-Z][a-zA-Z ]*)\. (.*)")
_CONTINUATION = re.compile(r"    (.*)")
# This play lacks the indentation.
_UNINDENTED_PLAY = "THE COMEDY OF ERRORS"
_UNINDENTED_ROLE_LINE = re.compile(r"([a-zA-Z][a-zA-Z ]*)\. (.*)")
_UNINDENTED_CONTINUATION = re.compile(r"(.*)")


def read_gutenberg(path: Path) -> list[Role]:
    """Read the roles of all plays with at least two.

    Raises
    ------
    UserError
        If the file has no play after the sonnets.
    """
    lines = read_play(path).splitlines()[1 : _LAST_LINE + 2]
    authors = [number for number, line in enumerate(lines) if _AUTHOR in line]
    if len(authors) < 2:
        raise UserError(
            f"{path} is not Project Gutenberg's complete works of 1994: '{_AUTHOR}' occurs"
            f" {len(authors)} times"
        )
    cast = Cast()
    for start, end in zip(authors[1:], [*authors[2:], len(lines)], strict=True):
        title = _title(lines, start, max(0, authors[1] - _LINES_ABOVE_AUTHOR))
        if not title:
            raise UserError(f"{path}, line {start + 2}: there is no title above '{_AUTHOR}'")
        _read_play(cast, title, lines[start + 1 : end])
    roles_of_play: dict[str, int] = {}
    for role in cast.roles:
        roles_of_play[role.play] = roles_of_play.get(role.play, 0) + 1
    return [role for role in cast.roles if roles_of_play[role.play] > 1]


def _title(lines: list[str], author: int, first: int) -> str:
    """Return the nearest text two to seven lines above the author's line."""
    above = (lines[author - distance].strip() for distance in range(2, 8) if author - distance >= first)
    return next(filter(None, above), "")


def _read_play(cast: Cast, title: str, lines: list[str]) -> None:
    unindented = title == _UNINDENTED_PLAY
    role_line = _UNINDENTED_ROLE_LINE if unindented else _ROLE_LINE
    continuation = _UNINDENTED_CONTINUATION if unindented else _CONTINUATION
    speech: list[str] | None = None
    for line in lines:
        if match := role_line.match(line):
            name = match[1].upper()
            if unindented and name.startswith("ACT "):
                speech = None
                continue
            speech = [match[2]]
            cast.role(title, name).speeches.append(speech)
        elif speech is not None and (match := continuation.match(line)):
            if unindented and match[1].startswith("<"):
                speech = None
            else:
                speech.append(match[1])
