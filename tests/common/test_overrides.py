"""Classes and functions of somebody's own that would not be called as they are meant to."""

import pytest

from clients.base import Client
from common.errors import UserError
from common.overrides import check_arguments, check_overrides
from server.participation._scheme import ParticipationScheme
from strategies.fedavg import FedAvg


def test_a_misspelt_hook_is_named() -> None:
    class Misspelt(Client):
        def correct_gradient(self) -> None: ...

    with pytest.raises(UserError, match=r"no 'correct_gradient', .* did you mean 'correct_gradients'\?"):
        check_overrides(Misspelt, Client, "method.name")


def test_helpers_and_hooks_are_taken() -> None:
    class Right(Client):
        def _correct_gradient(self) -> None: ...

        def nothing_like_it(self) -> None: ...

        def end_round(self, trained, more=3):  # type: ignore[no-untyped-def]
            return {}

    check_overrides(Right, Client, "method.name")


def test_a_hook_that_takes_other_arguments_is_named() -> None:
    class Short(Client):
        def end_round(self): ...  # type: ignore[no-untyped-def]

    with pytest.raises(UserError, match=r"'end_round' takes \(self\), but is called with \(self, params"):
        check_overrides(Short, Client, "method.name")


def test_what_is_made_with_parameters_has_to_take_them() -> None:
    class Closed(FedAvg):
        def __init__(self) -> None: ...

    with pytest.raises(UserError, match=r"'__init__' takes \(self\) -> None, but .*parameters"):
        check_overrides(Closed, FedAvg, "method.name")


RENAMED = [
    (base, old, new) for base in (ParticipationScheme, Client, FedAvg) for old, new in base.RENAMED.items()
]


@pytest.mark.parametrize(("base", "old", "new"), RENAMED)
def test_a_former_name_is_answered_with_the_present_one(base: type, old: str, new: str) -> None:
    value = () if old.isupper() else lambda self, given: None
    with pytest.raises(UserError, match=rf"Old\.{old} has no effect: '{new}' has replaced it"):
        check_overrides(type("Old", (base,), {old: value, "__module__": __name__}), base, "key")
    assert hasattr(base, new)
    assert not hasattr(base, old)


def test_what_has_to_be_there_is_named() -> None:
    class Empty(ParticipationScheme): ...

    with pytest.raises(UserError, match=r"Empty in .* must define 'select'"):
        check_overrides(Empty, ParticipationScheme, "participation.name")


@pytest.mark.parametrize(
    ("function", "takes", "is_right"),
    [
        (lambda a, b: 0, "a, b", True),
        (lambda a, b, c: 0, "a, b", False),
        (lambda a, b, c: 0, "a, b, ? c", True),
        (lambda a: 0, "a, b", False),
        (lambda a, b, *, c=1: 0, "a, b", True),
        (lambda a, b, *, c: 0, "a, b", False),
        (print, "a, b", True),
    ],
)
def test_arguments_of_a_function(function, takes: str, is_right: bool) -> None:  # type: ignore[no-untyped-def]
    if is_right:
        check_arguments(function, takes, "here")
    else:
        with pytest.raises(UserError, match=r"here: '<lambda>' takes .*, but is called with \(a, b\)"):
            check_arguments(function, takes, "here")


@pytest.mark.parametrize(
    ("base", "name", "value", "expected"),
    [
        (Client, "NEEDS_CLASS", True, "Client has no 'NEEDS_CLASS', .* did you mean 'NEEDS_CLASSES'"),
        (FedAvg, "UNUSD", {}, "did you mean 'UNUSED'"),
        (FedAvg, "weightings", "uniform", "did you mean 'weighting'"),
        (ParticipationScheme, "use_fraction", False, "did you mean 'uses_fraction'"),
        (Client, "assumes_sgd", True, r"assumes_sgd is a value, and must be a method \(def\)"),
        (Client, "proximal_weight", 0.1, r"is a value, and must be a property \(@property\)"),
        (Client, "proximal_weight", lambda self: 0.1, r"is a method \(def\), and must be a property"),
        (Client, "defaults", lambda cls, parameters: {}, r"must be a class method \(@classmethod\)"),
        (Client, "NEEDS_CLASSES", property(lambda self: True), r"is a property .*, and must be a value"),
        (Client, "_loss", lambda self: 0, "_loss replaces what Client itself calls"),
        (FedAvg, "SECTIONS", "own", r"SECTIONS must be a collection of names, such as \('own',\), not 'own'"),
        (FedAvg, "SECTIONS", (1, 2), "SECTIONS must be a collection of names"),
        (Client, "NEEDS_CLASSES", "no", "NEEDS_CLASSES must be a valid boolean, not 'no'"),
        (Client, "DEFAULTS", None, "DEFAULTS must be a valid dictionary, not None"),
        (Client, "NEEDS", {"mu": "form"}, "NEEDS must be an instance of Needs"),
        (FedAvg, "REDUCTION", "average", "REDUCTION must be 'mean', 'step' or 'own', not 'average'"),
        (FedAvg, "SECTIONS", "arrays", "SECTIONS must be a collection of names"),
        (FedAvg, "TRANSIENT", "old", "TRANSIENT must be a collection of names"),
        (FedAvg, "UNUSED", ["local.steps"], "UNUSED must be a valid dictionary"),
        (FedAvg, "reports_layers", lambda self: True, "must be a property"),
        (ParticipationScheme, "keeps_cohort_size", "no", "keeps_cohort_size must be a valid boolean"),
    ],
)
def test_an_attribute_of_another_kind_or_type_is_named(
    base: type, name: str, value: object, expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        check_overrides(type("Wrong", (base,), {name: value, "__module__": __name__}), base, "method.name")


@pytest.mark.parametrize(
    ("base", "values"),
    [
        (Client, {"proximal_weight": property(lambda self: 0.1), "NEEDS_CLASSES": True}),
        (Client, {"mu": 0.1, "_NEED": (), "need": 1.0, "__annotations__": {"need": float}}),
        (Client, {"defaults": classmethod(lambda cls, parameters: {})}),
        (FedAvg, {"SECTIONS": {"arrays", "own"}, "REDUCTION": "own", "weighting": "uniform", "_rate": 1}),
    ],
)
def test_attributes_of_the_right_kind_and_type_are_taken(base: type, values: dict[str, object]) -> None:
    check_overrides(type("Right", (base,), {**values, "__module__": __name__}), base, "method.name")
