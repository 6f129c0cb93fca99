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
