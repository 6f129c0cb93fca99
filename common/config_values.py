"""The configuration as flat dotted keys: read from TOML and ``--set``, and merged over the defaults."""

import json
import re
from collections.abc import Iterable, Mapping

from common.defaults import default_values, flatten
from common.errors import UserError
from common.reading import parse_toml_tables
from common.sections import Value

_MAX_DIGITS = 19  # of the largest integer that a message can carry
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9_]+")
TOO_LARGE = "integers go from -2**63 to 2**63 - 1"

# Keys that only dedicated command-line options may set.
RUN_OPTIONS = {"run.directory": "--run-dir", "run.resume": "--resume"}


def parse_toml(text: str, source: str) -> dict[str, Value]:
    """Parse TOML into flat dotted keys; `source` is named in errors."""
    return flatten(parse_toml_tables(text, source), source)


def to_toml(values: Mapping[str, Value]) -> str:
    """Write flat dotted keys as TOML, one assignment a line."""
    # JSON's strings, numbers and booleans are TOML's too, save for surrogate pairs and a bare DEL.
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
    return "".join(lines).replace("\x7f", "\\u007f")


def parse_assignment(assignment: str) -> tuple[str, Value]:
    """Parse ``key=value``; the value is TOML, and text that is not a TOML scalar is a string."""
    key, separator, text = assignment.partition("=")
    if not separator or not key.strip():
        raise UserError(f"--set takes key=value, not '{assignment}'")
    text = text.strip()
    if _WHOLE_NUMBER.fullmatch(text) and len(text) > _MAX_DIGITS:
        raise UserError(f"{key.strip()} has a number of {len(text)} digits: {TOO_LARGE}")
    try:
        table = parse_toml_tables(f"value = {text}", "--set")
    except UserError:
        table = {}
    # Text with line breaks may contain further keys: then it is not a value.
    value = table["value"] if len(table) == 1 else text
    return key.strip(), value if isinstance(value, Value) else text


def read_assignments(assignments: Iterable[str]) -> dict[str, Value]:
    """Parse the ``key=value`` of ``--set``; keys inside ``overrides`` count as set, too.

    Raises
    ------
    UserError
        If one is not an assignment, or sets a key that has its own option.
    """
    values = expanded(dict(map(parse_assignment, assignments)))
    for key, option in RUN_OPTIONS.items():
        if key in values:
            raise UserError(f"--set does not take {key}: use {option}")
    return values


def merge(*layers: Mapping[str, Value]) -> dict[str, Value]:
    """Apply override mappings to the defaults, later ones last."""
    merged = dict(default_values())
    for layer in layers:
        merged |= settle_budget(expanded(layer))
    return merged


def settle_budget(layer: Mapping[str, Value]) -> dict[str, Value]:
    """Set the other of ``local.epochs`` and ``local.steps`` to 0 in a layer that sets only one of them.

    The budget is exactly one of the two. A layer that sets both keeps both, which validation refuses.
    """
    for chosen, other in (("local.steps", "local.epochs"), ("local.epochs", "local.steps")):
        if layer.get(chosen) and other not in layer:
            return {**layer, other: 0}
    return dict(layer)


def expanded(values: Mapping[str, Value]) -> dict[str, Value]:
    """Expand the ``overrides`` of a layer, whose keys come last.

    Raises
    ------
    UserError
        If ``overrides`` is not TOML, or contains itself.
    """
    text = values.get("overrides", "")
    if not text or not isinstance(text, str):
        return dict(values)
    overrides = parse_toml(text, "the value of 'overrides'")
    if "overrides" in overrides:
        raise UserError("'overrides' must not contain 'overrides'")
    return {**values, **settle_budget(overrides), "overrides": ""}
