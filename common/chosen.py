"""What an open section chooses: the thing that it names, with the section's other keys as its parameters."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from common.defaults import drop_inherited_defaults
from common.parameters import class_parameters, function_parameters, parse_parameters
from common.plugins import Kind, find_function, find_subclass, folders
from common.sections import OpenSection, Value

T = TypeVar("T")

_Items = tuple[tuple[str, Value], ...]


def chosen_function(kind: Kind, section: OpenSection) -> functools.partial[Any]:
    """Return the function that a section names, with its keyword parameters.

    Raises
    ------
    UserError
        If there is no such function or parameter, or a value is out of range.
    """
    return _function(kind, section.choice, _items(section), tuple(folders()))


def chosen_object(kind: Kind, section: OpenSection, base: type[T]) -> T:
    """Return an instance of the subclass of `base` that a section names; parameters are its attributes.

    Raises
    ------
    UserError
        As ``chosen_function``.
    """
    cls, parameters = _class(kind, section.choice, _items(section), tuple(folders()), base)
    made: T = cls()
    for name, value in parameters.items():
        setattr(made, name, value)
    return made


def _items(section: OpenSection) -> _Items:
    return tuple(sorted(section.parameters.items()))


@functools.lru_cache(maxsize=64)
def _function(kind: Kind, name: str, items: _Items, _searched: tuple[Path, ...]) -> functools.partial[Any]:
    function: Callable[..., Any] = find_function(kind, name)
    return functools.partial(function, **_parse(kind, name, function_parameters(function), items))


@functools.lru_cache(maxsize=64)
def _class(
    kind: Kind, name: str, items: _Items, _searched: tuple[Path, ...], base: type[Any]
) -> tuple[type[Any], dict[str, Any]]:
    cls = find_subclass(kind, name, base)
    return cls, _parse(kind, name, class_parameters(cls), items)


def _parse(kind: Kind, name: str, declared: dict[str, tuple[Any, Any]], items: _Items) -> dict[str, Any]:
    section = kind.key.partition(".")[0]
    return parse_parameters(section, name, declared, drop_inherited_defaults(section, dict(items), declared))
