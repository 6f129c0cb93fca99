"""A report as Markdown, with its pictures as files in a folder next to it."""

import re
from pathlib import Path

from analysis.page.parts import Code, Page, Part, Picture, Table, Text
from analysis.tables import as_markdown

_SPECIAL = re.compile(r"([\\`*_\[\]#|])")


def to_markdown(page: Page, folder: str) -> str:
    """Return the page as Markdown; it refers to its pictures as files in `folder`."""
    lines = [f"# {_escaped(page.title)}"]
    for section in page.sections:
        lines += [f"## {_escaped(section.title)}", *(_part(part, folder) for part in section.parts)]
    return "\n\n".join(lines) + "\n"


def pictures(page: Page) -> list[Picture]:
    """Return the pictures of a page."""
    return [part for section in page.sections for part in section.parts if isinstance(part, Picture)]


def _part(part: Part, folder: str) -> str:
    if isinstance(part, Text):
        return _escaped(part.text)
    if isinstance(part, Code):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", part.text)), default=0))
        return f"{fence}sh\n{part.text}\n{fence}"
    if isinstance(part, Table):
        # as_markdown escapes the bars.
        cells = [[_escaped(cell).replace("\\|", "|") for cell in row] for row in (part.header, *part.rows)]
        return as_markdown(cells[0], cells[1:])
    target = Path(folder, part.name).as_posix()
    return f"![{_escaped(part.caption)}](<{target}>)"


def _escaped(text: str) -> str:
    """Escape text: no Markdown markup, and no HTML, which Markdown would pass on."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)
