"""The defaults of the configuration, from ``pyproject.toml``."""

import functools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.sections import Value

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def flatten(nested: Mapping[str, Any], source: str = "the configuration") -> dict[str, Value]:
    """Join nested keys with dots.

    Raises
    ------
    UserError
        If a key is set twice, once in quotes: ``"local.steps" = 1`` and ``local.steps = 2``.
    """
    flat: dict[str, Value] = {}
    open_tables = [("", iter(nested.items()))]  # no recursion: tables may be nested to any depth
    while open_tables:
        prefix, items = open_tables[-1]
        for name, value in items:
            key = f"{prefix}{name}"
            if isinstance(value, Mapping):
                open_tables.append((f"{key}.", iter(value.items())))
                break
            if key in flat:
                raise UserError(f"{source} sets {key} twice")
            flat[key] = value
        else:
            open_tables.pop()
    return flat


@functools.cache
def default_values() -> Mapping[str, Value]:
    """Read the defaults from ``[tool.flwr.app.config]`` of ``pyproject.toml``."""
    with (PROJECT_ROOT / "pyproject.toml").open("rb") as file:
        return flatten(tomllib.load(file)["tool"]["flwr"]["app"]["config"])


def drop_inherited_defaults(
    section: str, parameters: Mapping[str, Value], known: Iterable[str]
) -> dict[str, Value]:
    """Drop the parameters that are in ``pyproject.toml`` for another choice of ``<section>.name``.

    ``partition.alpha`` has a default there, which must not disturb ``partition.name = "iid"``; an alpha
    that differs from that default was set by the user and is kept, so that it is refused as unknown.
    """
    known = {name.replace("_", "-") for name in known}
    return {
        key: value
        for key, value in parameters.items()
        if key in known or default_values().get(f"{section}.{key}") != value
    }
