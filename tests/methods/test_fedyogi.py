"""FedYogi in closed form, in float64."""

import pytest

from common.sections import Value
from tests.methods.server_optimisers import Pair, check_rest, check_two_rounds


@pytest.mark.parametrize(
    ("parameters", "first", "second"),
    [
        ({}, (1.0414213562, 0.9381966011), (1.0974213562, 0.9150047652)),
        ({"v0_zero": True}, (1.05, 0.9333333333), (1.1160990337, 0.9086119738)),
    ],
)
def test_two_rounds(parameters: dict[str, Value], first: Pair, second: Pair) -> None:
    check_two_rounds("fedyogi", first, second, server_learning_rate=0.1, tau=0.01, **parameters)


def test_it_stays_where_nothing_changes() -> None:
    check_rest("fedyogi")
