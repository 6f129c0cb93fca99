"""The parts of a report, independent of its format."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """A paragraph, or a remark in small print."""

    text: str
    is_remark: bool = False


@dataclass(frozen=True)
class Code:
    """Lines to copy into a terminal."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """The content of a PNG file, its file name outside a page, and its caption."""

    name: str
    content: bytes
    caption: str


Part = Text | Code | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what is below it."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    sections: Sequence[Section] = field(default_factory=tuple)
