"""The defaults of the configuration, as ``pyproject.toml`` has them."""

import functools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.sections import Value

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Join nested keys with dots."""
    flat: dict[str, Value] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@functools.cache
def default_values() -> Mapping[str, Value]:
    """Read the defaults from ``[tool.flwr.app.config]`` of ``pyproject.toml``."""
    with (PROJECT_ROOT / "pyproject.toml").open("rb") as file:
        return flatten(tomllib.load(file)["tool"]["flwr"]["app"]["config"])


def drop_inherited_defaults(
    section: str, parameters: Mapping[str, Value], known: Iterable[str]
) -> dict[str, Value]:
    """Drop the parameters that stand in ``pyproject.toml`` for another choice of ``<section>.name``.

    ``partition.alpha`` has a default there, which must not disturb ``partition.name = "iid"``; an alpha
    that differs from that default was set by somebody and is kept, so that it is refused as unknown.
    """
    known = {name.replace("_", "-") for name in known}
    return {
        key: value
        for key, value in parameters.items()
        if key in known or default_values().get(f"{section}.{key}") != value
    }
