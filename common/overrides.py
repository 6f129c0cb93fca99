"""Check that a user's class overrides what it means to: a misspelt hook would never be called."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from common.errors import UserError, complaint, shown

_ALIKE = 0.8  # as difflib measures it: one letter of six
_METHOD, _VALUE = "a method (def)", "a value"


def check_overrides(cls: type[Any], base: type[Any], key: str) -> None:
    """Refuse a user's class with methods that would not be called, or not with their arguments.

    Parameters
    ----------
    cls : type
        A subclass of `base` from outside the project.
    base : type
        The base class by which the project uses it.
    key : str
        The configuration key that names it, for the message.

    Raises
    ------
    UserError
        If something has a former name (`base`'s ``RENAMED``), a method has one close to that of a hook, its
        arguments differ from those of the call, a required method is missing, a method stands where a value
        is needed or the other way round, or a value has another type.
    """
    own = [part for part in cls.__mro__ if part.__module__ == cls.__module__]
    for part in own:
        for name in vars(part).keys() & getattr(base, "RENAMED", {}).keys():
            raise UserError(
                f"{key}: {inspect.getfile(part)}: {part.__name__}.{name} has no effect:"
                f" '{base.RENAMED[name]}' has replaced it"
            )
    for part in own:
        for name, value in vars(part).items():
            if not name.startswith("__"):
                _check_kind(part, base, name, value, key)
    known = {
        name: value for part in reversed(cls.__mro__) if part not in own for name, value in vars(part).items()
    }
    hooks = [name for name, value in known.items() if _function(value) and not name.startswith("_")]
    for part in own:
        _check_constants(part, base, known, key)
    for name, value in ((name, value) for part in own for name, value in vars(part).items()):
        function, overridden = _function(value), _function(known.get(name))
        if function is None:
            continue
        place = f"{key}: {function.__code__.co_filename}, line {function.__code__.co_firstlineno}"
        if name not in known and not name.startswith("_"):
            if near := difflib.get_close_matches(name, hooks, n=1, cutoff=_ALIKE):
                raise UserError(
                    f"{place}: {base.__name__} has no '{name}', so it would never be called; did you mean"
                    f" '{near[0]}'? Otherwise start its name with an underscore"
                )
        elif overridden and not _takes(function, overridden):
            raise UserError(
                f"{place}: '{name}' takes {inspect.signature(function)}, but is called with"
                f" {inspect.signature(overridden)}"
            )
    for name in hooks:
        required = _function(known[name])
        if required and required.__code__.co_names == ("NotImplementedError",) and not _defines(own, name):
            raise UserError(f"{key}: {cls.__name__} in {inspect.getfile(cls)} must define '{name}'")


def _check_kind(part: type[Any], base: Any, name: str, value: Any, key: str) -> None:
    """Refuse an attribute that is of another kind than that of `base`, or not of its type."""
    try:
        overridden = inspect.getattr_static(base, name)
    except AttributeError:
        return
    place = f"{key}: {inspect.getfile(part)}: {part.__name__}.{name}"
    if name.startswith("_"):
        if _kind(overridden) != _VALUE:
            raise UserError(f"{place} replaces what {base.__name__} itself calls: choose another name")
        return
    if (kind := _kind(value)) != (needed := _kind(overridden)):
        raise UserError(f"{place} is {kind}, and must be {needed}, as in {base.__name__}")
    if kind == _VALUE and (adapter := _type_of(base, name)):
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            first, *others = error.errors()
            what = f"of the type {adapter._type}" if others else complaint(first)
            raise UserError(f"{place} must be {what}, not {shown(value)}") from None


def _check_constants(part: type[Any], base: Any, known: Mapping[str, Any], key: str) -> None:
    """Refuse a value, other than a parameter, whose name is close to that of a value of the base class."""
    values = [name for name, value in known.items() if _kind(value) == _VALUE and not name.startswith("_")]
    parameters = {name for name in vars(part).get("__annotations__", {}) if not name.isupper()}
    for name, value in vars(part).items():
        is_new = name not in known and name not in parameters and not name.startswith("_")
        if not is_new or _kind(value) != _VALUE:
            continue
        if near := difflib.get_close_matches(name, values, n=1, cutoff=_ALIKE):
            raise UserError(
                f"{key}: {inspect.getfile(part)}: {base.__name__} has no '{name}', so it has no effect;"
                f" did you mean '{near[0]}'? Otherwise start its name with an underscore"
            )


def _kind(value: Any) -> str:
    if isinstance(value, property | functools.cached_property):
        return "a property (@property)"
    if isinstance(value, classmethod):
        return "a class method (@classmethod)"
    is_called = callable(value) or isinstance(value, functools.partialmethod)
    return _METHOD if is_called and not inspect.isclass(value) else _VALUE


@functools.lru_cache(256)
def _type_of(base: Any, name: str) -> TypeAdapter[Any] | None:
    """Return what checks the type of a class's constant; None for parameters, which are checked as such."""
    annotation = get_type_hints(base, include_extras=True).get(name, ClassVar)
    if ClassVar not in (annotation, get_origin(annotation)):
        return None
    inner = get_args(annotation) or (type(getattr(base, name)),)
    return TypeAdapter(inner[0], config=ConfigDict(strict=True, arbitrary_types_allowed=True))


def check_arguments(function: Callable[..., Any], takes: str, place: str) -> None:
    """Refuse a function that cannot be called with the project's arguments.

    Parameters
    ----------
    function : callable
        A user's function; not checked if Python cannot find its signature.
    takes : str
        As in ``common.plugin_kinds.Kind.takes``.
    place : str
        Its location, for the message.

    Raises
    ------
    UserError
        If it takes fewer or more.
    """
    always, may_have_more, _ = takes.partition("?")
    names = [name for name in always.replace(" ", "").split(",") if name]
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    for count in (len(names), len(names) + bool(may_have_more)):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return
    raise UserError(
        f"{place}: '{getattr(function, '__name__', function)}' takes {signature}, but is called with"
        f" ({', '.join(names)}); parameters of its own come after a '*', with a default"
    )


def _defines(own: list[type[Any]], name: str) -> bool:
    return any(name in vars(part) for part in own)


def _function(value: Any) -> Any:
    """Return the function behind a method of any kind; None if it is something else, such as a property."""
    value = getattr(value, "__func__", value)
    return value if inspect.isfunction(value) else None


def _takes(function: Callable[..., Any], overridden: Callable[..., Any]) -> bool:
    """Return whether a function can be called like the one that it overrides."""
    positional = [None for _ in _parameters(overridden, inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    named = dict.fromkeys(_parameters(overridden, inspect.Parameter.KEYWORD_ONLY))
    if [*_parameters(overridden, inspect.Parameter.VAR_KEYWORD)]:
        named["any_name_at_all"] = None
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError:
        return False
    return True


def _parameters(function: Callable[..., Any], kind: Any) -> Iterator[str]:
    return (name for name, value in inspect.signature(function).parameters.items() if value.kind is kind)
