"""The text of ``--describe``: kinds, the names of a kind, one thing, a section, or one key."""

import difflib
import shutil
import textwrap
from collections.abc import Iterator, Sequence

from common.defaults import default_values
from common.errors import UserError, nearest
from runtimes.describe.keys import (
    default_of,
    documentation,
    field_schema,
    fields,
    schema_of,
    type_words,
    value_text,
)
from runtimes.describe.things import Thing, chosen_by, kinds, things


def describe(topics: Sequence[str]) -> str:
    """Describe every topic, or list the kinds if there is none.

    Raises
    ------
    UserError
        If a topic is neither a kind, a name, a section nor a key; it suggests the nearest one.
    """
    return "\n\n".join(_topic(topic) for topic in topics) if topics else _overview()


def _overview() -> str:
    lines = ["What is chosen by name; --describe WORD lists it, --describe NAME or KEY explains it:", ""]
    for word, names in kinds().items():
        lines.append(_entry(word, f"{len(names)}: {', '.join(names)}"))
    sections = sorted({key.partition(".")[0] for key in fields() if "." in key})
    lines += ["", _entry("sections", ", ".join(sections))]
    return "\n".join(lines)


def _topic(topic: str) -> str:
    parts = []
    known = kinds()
    if topic in known:
        parts.append(_kind(topic, known[topic]))
    parts += [_thing(thing) for thing in things(topic)]
    if topic in fields():
        parts.append(_key(topic))
    section = [key for key in fields() if key.startswith(f"{topic}.")]
    if section:
        parts.append("\n".join([f"Keys of the section {topic}:", *(_key_line(key) for key in section)]))
    parts += list(_parameters_named(topic))
    if not parts:
        everything = [*known, *(name for names in known.values() for name in names), *fields()]
        everything += _parameters_near(topic)
        raise UserError(f"--describe: there is no '{topic}'{nearest(topic, everything)}")
    return "\n\n".join(parts)


def _kind(word: str, names: Sequence[str]) -> str:
    key = chosen_by(word)
    lines = [f"{word}: {f'one of {len(names)}, chosen by {key}' if key else 'all are used in every run'}"]
    for name in names:
        found = things(name, word) if "<" not in name else []
        lines.append(_entry(name, found[0].summary if found else "see docs/configuration.md"))
    return "\n".join(lines)


def _thing(thing: Thing) -> str:
    choice = f"; {thing.key} = '{thing.name}'" if thing.key else ""
    lines = [f"{thing.name} ({thing.kind}{choice})"]
    for paragraph in thing.paragraphs:
        lines += ["", *_wrapped(paragraph)]
    lines += [""] * bool(thing.papers) + [f"  {paper}" for paper in thing.papers]
    lines += ["", "Parameters:" if thing.parameters else "It has no parameters."]
    for name, (annotation, default) in thing.parameters.items():
        spelling = f"{thing.section}.{name.replace('_', '-')}"
        words = type_words(schema_of(annotation))
        lines.append(_entry(spelling, f"{words}; default {value_text(default)}", 40))
    lines += ["", *(f"  {note}" for note in thing.notes)] if thing.notes else []
    return "\n".join(lines)


def _key(key: str) -> str:
    text = documentation().get(key, "")
    lines = [f"{key}: {type_words(field_schema(fields()[key]))}; default {default_of(key)}"]
    return "\n".join(lines + (["", *_wrapped(text)] if text else []))


def _key_line(key: str) -> str:
    return _entry(key, f"{type_words(field_schema(fields()[key]))}; default {default_of(key)}", 40)


def _parameters_named(topic: str) -> Iterator[str]:
    """Describe a key that is a parameter of things chosen by name, such as ``partition.alpha``."""
    section, _, name = topic.partition(".")
    if topic in fields() or not name:
        return
    owners = [thing for thing in _things_of(section) if name.replace("-", "_") in thing.parameters]
    if not owners:
        return
    lines = [f"{topic}: a parameter of {', '.join(thing.name for thing in owners)}"]
    if text := documentation().get(topic):
        lines += ["", *_wrapped(text), ""]
    for thing in owners:
        annotation, default = thing.parameters[name.replace("-", "_")]
        lines.append(
            _entry(
                f"{thing.key} = '{thing.name}'",
                f"{type_words(schema_of(annotation))}; default {value_text(default)}",
                40,
            )
        )
    if topic in default_values():
        lines.append(_entry("set in pyproject.toml", default_of(topic), 40))
    yield "\n".join(lines)


def _things_of(section: str) -> list[Thing]:
    """Return the things whose parameters are keys of a section; none if nothing is chosen by it."""
    names = [name for name in kinds().get(section, ()) if "<" not in name]
    return [thing for name in names for thing in things(name, section)]


def _parameters_near(topic: str) -> set[str]:
    """Return the parameters, as dotted keys, of the section that a key names or nearly names."""
    section, dot, _ = topic.partition(".")
    near = difflib.get_close_matches(section, kinds(), n=1) if dot else []
    owners = [thing for name in near for thing in _things_of(name)]
    return {f"{thing.section}.{name.replace('_', '-')}" for thing in owners for name in thing.parameters}


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 110)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _width(), break_long_words=False, break_on_hyphens=False)


def _entry(name: str, text: str, column: int = 22) -> str:
    first = f"  {name:{column}} "
    return (
        textwrap.fill(
            text,
            _width(),
            initial_indent=first,
            subsequent_indent=" " * (column + 3),
            break_long_words=False,
            break_on_hyphens=False,
        )
        or first.rstrip()
    )
