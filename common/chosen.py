"""Look up what an open section names, with the section's other keys as its parameters."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from common.defaults import drop_inherited_defaults
from common.parameters import class_parameters, function_parameters, parse_parameters
from common.plugin_kinds import Kind
from common.plugins import find_function, find_subclass, folders
from common.sections import OpenSection, Value

T = TypeVar("T")

# Parameters as part of a cache key, with their types, since 1, 1.0 and true are equal.
Items = tuple[tuple[str, Value, type], ...]


@dataclass(frozen=True)
class _Choice:
    """The name and the parameters in a section."""

    kind: Kind
    name: str
    items: Items
    fixed: tuple[str, ...]
    searched: tuple[Path, ...]

    @classmethod
    def of(cls, kind: Kind, section: OpenSection) -> "_Choice":
        return _choice(kind, Same(section), tuple(folders()))

    def parse(self, declared: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
        """Validate the parameters against the declared ones."""
        section = self.kind.key.partition(".")[0]
        given = drop_inherited_defaults(section, {key: value for key, value, _ in self.items}, declared)
        return parse_parameters(section, self.name, declared, given, self.fixed)


class Same:
    """A section as part of a cache key, by identity: comparing two costs more than building one."""

    __slots__ = ("section",)

    def __init__(self, section: OpenSection) -> None:
        self.section = section

    def __hash__(self) -> int:
        return id(self.section)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.section is self.section


@functools.lru_cache(maxsize=64)
def _choice(kind: Kind, same: Same, searched: tuple[Path, ...]) -> _Choice:
    section = same.section
    return _Choice(kind, section.choice, cache_items(section.parameters), section.fixed_keys(), searched)


def chosen_function(kind: Kind, section: OpenSection) -> functools.partial[Any]:
    """Return the function that a section names, with its keyword parameters.

    Raises
    ------
    UserError
        If there is no such function or parameter, or a value is out of range.
    """
    return _function(_Choice.of(kind, section))


def chosen_object(kind: Kind, section: OpenSection, base: type[T]) -> T:
    """Return an instance of the subclass of `base` that a section names; parameters are its attributes.

    Raises
    ------
    UserError
        As ``chosen_function``.
    """
    found: Any = base  # types are hashable, but mypy does not know
    cls, parameters = _class(_Choice.of(kind, section), found)
    made: T = cls()
    for name, value in parameters.items():
        setattr(made, name, value)
    return made


def cache_items(parameters: Mapping[str, Value]) -> Items:
    """Return parameters as part of a cache key."""
    return tuple((key, parameters[key], type(parameters[key])) for key in sorted(parameters))


@functools.lru_cache(maxsize=64)
def _function(choice: _Choice) -> functools.partial[Any]:
    function: Callable[..., Any] = find_function(choice.kind, choice.name)
    return functools.partial(function, **choice.parse(function_parameters(function)))


@functools.lru_cache(maxsize=64)
def _class(choice: _Choice, base: type[Any]) -> tuple[type[Any], dict[str, Any]]:
    cls = find_subclass(choice.kind, choice.name, base)
    return cls, choice.parse(class_parameters(cls))
