"""Parameters of plug-ins chosen by name: declared by a class or function, validated by pydantic."""

import functools
import inspect
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from common.defaults import default_values
from common.errors import InapplicableKeyError, NoEffectError, UserError, nearest, shown, wrong_value
from common.sections import Value

T = TypeVar("T")


class Declared(dict[str, tuple[Any, Any]]):
    """Parameters with their annotations and defaults, in the order of declaration.

    Attributes
    ----------
    untyped : dict
        Values of attributes that would be parameters if they had an annotation.
    """

    def __init__(self, *entries: Any) -> None:
        super().__init__(*entries)
        self.untyped: dict[str, Value] = {}

    @functools.cached_property
    def model(self) -> type[BaseModel]:
        """The pydantic model that validates them, cached, since building it takes milliseconds."""
        fields: dict[str, Any] = dict(self)
        config = ConfigDict(
            strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, validate_default=True
        )
        return create_model("Parameters", __config__=config, **fields)


@dataclass(frozen=True)
class Needs:
    """The condition for a parameter to have an effect: the value of another parameter.

    Attributes
    ----------
    parameter : str
        The other parameter.
    values : tuple
        Values of the other parameter that meet the condition; empty: all but 0, false and empty text.
    other_than : tuple
        Values that do not meet it, instead of those that do.
    """

    parameter: str
    values: tuple[Value, ...] = ()
    other_than: tuple[Value, ...] = ()

    def __post_init__(self) -> None:
        for values in (self.values, self.other_than):
            if not isinstance(values, tuple):  # a text would be met by each of its parts
                raise TypeError(f"the values of Needs must be a tuple, such as ('squared',), not {values!r}")

    def are_met(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether the condition holds for these parameters."""
        value = parameters[self.parameter]
        if self.other_than:
            return value not in self.other_than
        return value in self.values if self.values else bool(value)

    @property
    def described(self) -> str:
        """The setting that would meet the condition."""
        key = f"method.{self.parameter.replace('_', '-')}"
        if self.other_than:
            return f"{key} other than {' and '.join(map(repr, self.other_than))}"
        return f"{key} = {' or '.join(map(repr, self.values))}" if self.values else f"{key} that is not off"


def check_needs(
    declared: Mapping[str, tuple[Any, Any]],
    parameters: Mapping[str, Any],
    needs: Mapping[str, Needs],
    given: Container[str] = (),
) -> None:
    """Refuse parameters of a method that are set but have no effect.

    Parameters
    ----------
    declared : mapping
        name → (annotation, default).
    parameters : mapping
        name → value of all parameters.
    needs : mapping
        Parameter → its condition; parameters that always have an effect are left out.
    given : container of str
        The keys that count as set; of the others, those that differ from their defaults.

    Raises
    ------
    NoEffectError
        One line that names the key and what it needs.
    UserError
        If `needs` names what is not a parameter.
    """
    for name, need in needs.items():
        for declares in (name, need.parameter):
            if declares not in declared:
                hint = nearest(declares, declared)
                raise UserError(f"NEEDS names '{declares}', which is not a parameter method.*{hint}")
        key = f"method.{name.replace('_', '-')}"
        is_set = key in given or parameters[name] != declared[name][1]
        if is_set and not need.are_met(parameters):
            raise NoEffectError(
                key,
                f"{key} = {parameters[name]!r} would have no effect: it needs {need.described}; set"
                " that, or leave it out",
            )


def once_per_owner(make: Callable[[T], Declared]) -> Callable[[T], Declared]:
    """Cache the parameters of a class or function, which may be a callable object without a hash."""
    known = functools.lru_cache(256)(make)

    @functools.wraps(make)
    def kept(owner: T) -> Declared:
        return known(owner) if isinstance(owner, Hashable) else make(owner)

    return kept


@once_per_owner
def class_parameters(cls: type) -> Declared:
    """Return the parameters that a class declares: annotated public attributes with a default.

    What a class sets that it derives from, without an annotation or as a ``ClassVar``, is none; nor is what
    the server half of a method names in ``UNUSED``.
    """
    declared, hints = Declared(), get_type_hints(cls, include_extras=True)
    unused = {key.partition("method.")[2].replace("-", "_") for key in getattr(cls, "UNUSED", ())}
    for name, annotation in hints.items():
        is_public = not name.startswith("_") and name not in unused
        if is_public and hasattr(cls, name) and not _is_constant(cls, name):
            declared[name] = (annotation, getattr(cls, name))
    values = {name: value for part in reversed(cls.__mro__) for name, value in vars(part).items()}
    declared.untyped = {
        name: value
        for name, value in values.items()
        if isinstance(value, bool | int | float | str) and not name.startswith("_") and name not in hints
    }
    return declared


def _is_constant(cls: type, name: str) -> bool:
    """Return whether the first class that has an attribute has it as a constant."""
    for part in reversed(cls.__mro__):
        if name in vars(part).get("__annotations__", {}):
            annotation = get_type_hints(part, include_extras=True)[name]
            return ClassVar in (annotation, get_origin(annotation))
        if name in vars(part):
            return True
    return False


@once_per_owner
def function_parameters(function: Callable[..., Any]) -> Declared:
    """Return the parameters that a function declares: those that are keyword-only."""
    hints = get_type_hints(function, include_extras=True)
    return Declared(
        (name, (hints.get(name, Any), parameter.default))
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    )


def parse_parameters(
    section: str,
    owner: str,
    declared: Mapping[str, tuple[Any, Any]],
    given: Mapping[str, Value],
    fixed: Iterable[str] = ("name",),
) -> dict[str, Any]:
    """Validate `given` (configuration spelling) against `declared` and fill in the defaults.

    Hints at misspelt keys include the section's `fixed` ones.

    Raises
    ------
    UserError
        One line for an unknown parameter (with its nearest name) or a value out of range.
    """
    spellings = {name.replace("_", "-"): name for name in declared}
    for key, name in spellings.items():
        default, inherited = declared[name][1], default_values().get(f"{section}.{key}")
        if default is not ... and inherited is not None and default != inherited:
            raise UserError(
                f"'{owner}' declares {section}.{key} with the default {shown(default)}, whose place the"
                f" {inherited!r} of pyproject.toml would take: declare that as its default, or name it"
                " otherwise"
            )
    for key in given:
        if key not in spellings:
            untyped = getattr(declared, "untyped", {})
            if (name := key.replace("-", "_")) in untyped:
                kind, value = type(untyped[name]).__name__, untyped[name]
                raise InapplicableKeyError(
                    f"{section}.{key}",
                    f"'{name} = {value!r}' of '{owner}' is no parameter, as it has no type: write"
                    f" '{name}: {kind} = {value!r}'",
                )
            allowed = ", ".join(f"{section}.{spelling}" for spelling in spellings) or "none"
            known = [f"{section}.{spelling}" for spelling in (*spellings, *fixed)]
            raise InapplicableKeyError(
                f"{section}.{key}",
                f"'{owner}' has no parameter '{section}.{key}'{nearest(f'{section}.{key}', known)}"
                f" (it has: {allowed})",
            )
    model = (declared if isinstance(declared, Declared) else Declared(declared)).model
    try:
        validated = model.model_validate({spellings[key]: value for key, value in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]).replace("_", "-")
        if first["type"] == "missing":
            raise UserError(f"'{owner}' needs {section}.{key}, which has no default") from None
        what = f"{section}.{key}" if key in given else f"the default of {section}.{key} in '{owner}'"
        raise UserError(wrong_value(what, first)) from None
    return {name: getattr(validated, name) for name in declared}
