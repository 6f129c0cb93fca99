"""Keys of the configuration: types, limits, defaults, and their text in the pages that explain them."""

import functools
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from common.config import Config
from common.defaults import PROJECT_ROOT, default_values
from common.sections import ConfigSection

DOCUMENTS = [PROJECT_ROOT / "docs" / f"{page}.md" for page in ("configuration", "method-families", "data")]


@functools.cache
def fields() -> dict[str, FieldInfo]:
    """Return every declared key with its type."""
    found: dict[str, FieldInfo] = {}
    for name, field in Config.model_fields.items():
        alias, section = field.alias or name, field.annotation
        if isinstance(section, type) and issubclass(section, ConfigSection):
            found |= {f"{alias}.{inner.alias or key}": inner for key, inner in section.model_fields.items()}
        else:
            found[alias] = field
    return found


@functools.cache
def documentation() -> Mapping[str, str]:
    """Return key → what the pages say of it: its rows of tables and the points below them."""
    rows: dict[str, list[str]] = {}
    for cell, meaning in key_rows():
        if key := re.fullmatch(r"`([a-z][\w.-]*)`", cell):
            rows.setdefault(key[1], []).append(meaning)
    found = {key: "; ".join(meanings) for key, meanings in rows.items()}
    for key, more in re.findall(r"^- `([a-z][\w.-]*)`: (.*(?:\n  .*)*)", _text(), re.MULTILINE):
        found[key] = ". ".join([*filter(None, [found.get(key)]), " ".join(more.split())])
    return found


def key_rows() -> Iterator[tuple[str, str]]:
    """Yield the first and the last cell of every row of the tables of keys."""
    for table in re.findall(r"^\| key \|.*\n\|[-|]+\n((?:\|.*\n)+)", _text(), re.MULTILINE):
        for row in table.splitlines():
            cells = row.removeprefix("|").removesuffix("|").split(" | ")
            yield cells[0].strip(), cells[-1].strip()


@functools.cache
def _text() -> str:
    """Return the pages as one text, their links as of another page of the folder."""
    texts = (page.read_text(encoding="utf-8").replace("](#", f"]({page.name}#") for page in DOCUMENTS)
    return "\n".join(texts)


def field_schema(field: FieldInfo) -> dict[str, Any]:
    """Return the JSON schema of a declared key."""
    annotation: Any = field.annotation
    for constraint in field.metadata:
        annotation = Annotated[annotation, constraint]
    return schema_of(annotation)


def schema_of(annotation: Any) -> dict[str, Any]:
    """Return the JSON schema of a type; of one that has none, an empty one."""
    try:
        return TypeAdapter(annotation).json_schema()
    except Exception:  # pydantic has a class for every reason
        return {}


def type_words(schema: Mapping[str, Any]) -> str:
    """Describe in words what a JSON schema allows: ``a number, at least 0, below 1``."""
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(type_words(part) for part in schema["anyOf"])
    words = {"integer": "an integer", "number": "a number", "string": "a string", "boolean": "true or false"}
    text = words.get(str(schema.get("type")), "a value")
    limits = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    given = [f"{word} {_number(schema[key])}" for key, word in limits.items() if key in schema]
    return ", ".join([text, *given])


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:g}"


def default_of(key: str) -> str:
    """Return a key's default as it is written in a file."""
    return value_text(default_values().get(key))


def value_text(value: Any) -> str:
    """Return a default as TOML, or in a word."""
    if value in (..., inspect.Parameter.empty):
        return "required"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
