"""docs/methods.md, docs/keys.md, the overview of docs/results.md: ``python -m runtimes.describe.pages``."""

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from clients.registry import available_methods
from common.defaults import PROJECT_ROOT
from common.files import write_atomic
from runtimes.describe.evidence import results_page
from runtimes.describe.keys import (
    default_of,
    documentation,
    field_schema,
    fields,
    schema_of,
    type_words,
    value_text,
)
from runtimes.describe.things import METHOD, Thing, things
from strategies._flower_names import available_flower_strategies

DOCS = PROJECT_ROOT / "docs"
_METHODS = """# Methods

`method.name` chooses one. This page is made from the methods' files by `python -m runtimes.describe.pages`;
`run_simulation.py --describe NAME` shows the same. The half of a method that has no file is FedAvg's.
"""
_KEYS = """# Keys

Every declared key with its type, limits and default. This page is made from the configuration by
`python -m runtimes.describe.pages`; [Configuration](configuration.md), [Families of
methods](method-families.md) and [Data](data.md) have the keys in context, and the
parameters of what a name chooses (`model.*`, `partition.*`, `loss.*`, …); [Methods](methods.md) has those of
methods.
"""


def methods_page() -> str:
    """Return the text of the page."""
    parts = [_METHODS, *(_entry(things(name, METHOD)[0]) for name in available_methods())]
    flower = ", ".join(f"`{name}`" for name in available_flower_strategies())
    parts.append(
        f"## Strategies of Flower\n\n{flower}: their parameters are passed through as `method.<parameter>`.\n"
    )
    return "\n".join(parts)


def _entry(thing: Thing) -> str:
    """Return the section of a method: summary, equation, papers, parameters, compatibility."""
    files = [f"{package}/{thing.name.replace('-', '_')}.py" for package in ("strategies", "clients")]
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
        yield f"| `method.{name.replace('_', '-')}` | {words} | `{value_text(default)}` |"


def _escaped(text: str) -> str:
    """Return a paragraph as Markdown: ``x`` as code, and equations escaped."""
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    parts = re.split(r"(`[^`]*`)", text)
    # Not every Markdown parser accepts a backslash before "<".
    return "".join(
        part if part[:1] == "`" else re.sub(r"([*_|])", r"\\\1", part).replace("<", "&lt;") for part in parts
    )


def keys_page() -> str:
    """Return the text of the page of keys, a table for each section."""
    parts = [_KEYS]
    for section, keys in groupby(sorted(fields(), key=_order), key=_section):
        rows = "\n".join(_key_row(key) for key in keys)
        parts.append(
            f"## {section or 'The run'}\n\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def _section(key: str) -> str:
    return key.partition(".")[0] if "." in key else ""


def _order(key: str) -> tuple[str, int]:
    """Sort by section, and within it as declared."""
    return _section(key), list(fields()).index(key)


def _key_row(key: str) -> str:
    words = type_words(field_schema(fields()[key]))
    meaning = re.sub(r"(?<!\\)\|", r"\\|", documentation().get(key, ""))
    return f"| `{key}` | {words} | `{default_of(key)}` | {meaning} |"


PAGES: dict[Path, Callable[[], str]] = {
    DOCS / "methods.md": methods_page,
    DOCS / "keys.md": keys_page,
    DOCS / "results.md": results_page,
}

if __name__ == "__main__":
    for file, text in PAGES.items():
        write_atomic(file, text().encode())
