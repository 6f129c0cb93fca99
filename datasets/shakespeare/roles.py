"""The result of a reader of plays, and the blocks of speech that both plain-text layouts share."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import UserError
from common.files import read_text

Block = tuple[int, list[str]]


@dataclass
class Role:
    """Everything that one role speaks, in the order of the text.

    Attributes
    ----------
    play, name : str
        Which role of which play.
    speeches : list of list of str
        The lines of each speech, without line ends.
    """

    play: str
    name: str
    speeches: list[list[str]] = field(default_factory=list)


class Cast:
    """Collects the roles of several plays in order of their first appearance."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str], Role] = {}

    @property
    def roles(self) -> list[Role]:
        """All roles so far."""
        return list(self._roles.values())

    def role(self, play: str, name: str) -> Role:
        """Return a role of a play, a new one if it has not appeared yet; case makes no difference."""
        key = (play, name.upper())
        return self._roles.setdefault(key, Role(*key))

    def add_speech(self, play: str, name: str, lines: list[str]) -> None:
        """Add a speech; a role that is announced and says nothing is a role, too."""
        role = self.role(play, name)
        if lines:
            role.speeches.append(lines)


def read_play(path: Path) -> str:
    """Read a text file, with any line ends converted to line feeds.

    Raises
    ------
    UserError
        If it cannot be read, or is not UTF-8.
    """
    return read_text(path, "dataset.root").replace("\r\n", "\n").replace("\r", "\n")


def read_blocks(path: Path) -> Iterator[Block]:
    """Yield a file's blocks, separated by blank lines: 1-based number of the first line, and the lines."""
    lines: list[str] = []
    for number, line in enumerate([*read_play(path).split("\n"), ""], start=1):
        if line.strip():
            lines.append(line)
        elif lines:
            yield number - len(lines), lines
            lines = []


def split_speech(path: Path, block: Block) -> tuple[str, list[str]]:
    """Split a block into the speaker, who is named before a colon in its first line, and the lines spoken.

    Raises
    ------
    UserError
        If the first line does not end with a colon.
    """
    number, (header, *spoken) = block
    speaker = header.strip().removesuffix(":")
    if not speaker or not header.rstrip().endswith(":"):
        raise UserError(
            f"{path}, line {number}: expected 'SPEAKER:' at the start of a speech, not {header[:40]!r};"
            " blocks are separated by empty lines, and headings start with '# '"
        )
    return speaker, spoken
