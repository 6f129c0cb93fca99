"""Keys of the configuration: types, limits, defaults, and their text in docs/configuration.md."""

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from common.config import Config
from common.defaults import PROJECT_ROOT, default_values
from common.sections import ConfigSection

DOCUMENT = PROJECT_ROOT / "docs" / "configuration.md"


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
    """Return key → what docs/configuration.md says of it: its row of a table and its point below it."""
    found: dict[str, str] = {}
    text = DOCUMENT.read_text(encoding="utf-8")
    for line in text.splitlines():
        cells = (
            [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("| `") else []
        )
        if len(cells) > 1:
            for key in re.findall(r"`([a-z][\w.-]*)`", cells[0]):
                found.setdefault(key, cells[1])
    for key, more in re.findall(r"^- `([a-z][\w.-]*)`: (.*(?:\n  .*)*)", text, re.MULTILINE):
        found[key] = ". ".join([*filter(None, [found.get(key)]), " ".join(more.split())])
    return found


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
        return "one of " + ", ".join(f"'{value}'" for value in schema.get("enum", [schema.get("const")]))
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
    value = default_values().get(key)
    return "none" if value is None else repr(value).lower() if isinstance(value, bool) else repr(value)
