"""Which attributes of a strategy are checkpointed."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any


def data_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that are not functions; functions are configuration and not checkpointed."""
    return {name: value for name, value in attributes.items() if not _is_function(value)}


def _is_function(value: Any) -> bool:
    return inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, functools.partial)
