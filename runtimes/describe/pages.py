"""docs/methods.md, made from the methods' own descriptions: ``python -m runtimes.describe.pages``."""

import re
from collections.abc import Iterator

from clients.registry import available_flower_strategies, available_methods
from common.config import PROJECT_ROOT
from common.files import write_atomic
from runtimes.describe.keys import schema_of, type_words
from runtimes.describe.things import METHOD, Thing, things

PAGE = PROJECT_ROOT / "docs" / "methods.md"
_HEAD = """# Methods

`method.name` chooses one. This page is made from the methods' files by `python -m runtimes.describe.pages`;
`run_simulation.py --describe NAME` shows the same. The half of a method that has no file is FedAvg's.
"""


def methods_page() -> str:
    """Return the text of the page."""
    parts = [_HEAD, *(_entry(things(name, METHOD)[0]) for name in available_methods())]
    flower = ", ".join(f"`{name}`" for name in available_flower_strategies())
    parts.append(
        f"## Strategies of Flower\n\n{flower}: their parameters are passed through as `method.<parameter>`.\n"
    )
    return "\n".join(parts)


def _entry(thing: Thing) -> str:
    """Return the section of a method: summary, equation, papers, parameters, what it goes with."""
    files = [f"{room}/{thing.name.replace('-', '_')}.py" for room in ("strategies", "clients")]
    links = [f"[`{file}`](../{file})" for file in files if (PROJECT_ROOT / file).is_file()]
    parts = [f"## {thing.name}", " · ".join([*links, *(f"<{paper}>" for paper in thing.papers)])]
    parts += [_escaped(text) for text in thing.paragraphs]
    if thing.notes:
        parts.append(_escaped("; ".join(thing.notes).capitalize()))
    parts.append("\n".join(_table(thing)))
    return "\n\n".join(parts) + "\n"


def _table(thing: Thing) -> Iterator[str]:
    yield "| parameter | type | default |"
    yield "|---|---|---|"
    for name, (annotation, default) in thing.parameters.items():
        words = type_words(schema_of(annotation)).replace("|", "\\|")
        yield f"| `method.{name.replace('_', '-')}` | {words} | `{default!r}` |"


def _escaped(text: str) -> str:
    """Return a paragraph as Markdown: ``x`` as code, and equations that are not taken for markup."""
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part[:1] == "`" else re.sub(r"([*_<|])", r"\\\1", part) for part in parts)


if __name__ == "__main__":
    write_atomic(PAGE, methods_page().encode())
