"""What an open section chooses: the thing that it names, with the section's other keys as its parameters."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from common.defaults import drop_inherited_defaults
from common.parameters import class_parameters, function_parameters, parse_parameters
from common.plugins import Kind, find_function, find_subclass, folders
from common.sections import OpenSection, Value

T = TypeVar("T")

# Parameters as what a cache is keyed by: with their types, since 1, 1.0 and true are equal.
Items = tuple[tuple[str, Value, type], ...]


def chosen_function(kind: Kind, section: OpenSection) -> functools.partial[Any]:
    """Return the function that a section names, with its keyword parameters.

    Raises
    ------
    UserError
        If there is no such function or parameter, or a value is out of range.
    """
    return _function(kind, section.choice, cache_items(section.parameters), tuple(folders()))


def chosen_object(kind: Kind, section: OpenSection, base: type[T]) -> T:
    """Return an instance of the subclass of `base` that a section names; parameters are its attributes.

    Raises
    ------
    UserError
        As ``chosen_function``.
    """
    found: Any = base  # types are hashable, which mypy does not see
    cls, parameters = _class(kind, section.choice, cache_items(section.parameters), tuple(folders()), found)
    made: T = cls()
    for name, value in parameters.items():
        setattr(made, name, value)
    return made


def cache_items(parameters: Mapping[str, Value]) -> Items:
    """Return parameters as a part of the key of a cache."""
    return tuple((key, parameters[key], type(parameters[key])) for key in sorted(parameters))


@functools.lru_cache(maxsize=64)
def _function(kind: Kind, name: str, items: Items, _searched: tuple[Path, ...]) -> functools.partial[Any]:
    function: Callable[..., Any] = find_function(kind, name)
    return functools.partial(function, **_parse(kind, name, function_parameters(function), items))


@functools.lru_cache(maxsize=64)
def _class(
    kind: Kind, name: str, items: Items, _searched: tuple[Path, ...], base: type[Any]
) -> tuple[type[Any], dict[str, Any]]:
    cls = find_subclass(kind, name, base)
    return cls, _parse(kind, name, class_parameters(cls), items)


def _parse(kind: Kind, name: str, declared: dict[str, tuple[Any, Any]], items: Items) -> dict[str, Any]:
    section, given = kind.key.partition(".")[0], {key: value for key, value, _ in items}
    return parse_parameters(section, name, declared, drop_inherited_defaults(section, given, declared))
