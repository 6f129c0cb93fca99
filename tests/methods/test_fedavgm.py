"""FedAvgM in closed form, in float64."""

import pytest

from common.sections import Value
from tests.methods.quadratics import LR, Federation
from tests.methods.server_optimisers import Pair, check_rest, check_two_rounds


def test_fedavgm_without_momentum_is_fedavg() -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0)]
    average = Federation("fedavg", quadratics, [2, 2], local=LR)
    momentum = Federation("fedavgm", quadratics, [2, 2], local=LR, beta=0.0)
    for _ in range(3):
        assert momentum.round() == pytest.approx(average.round(), abs=1e-12)


@pytest.mark.parametrize(
    ("parameters", "first", "second"),
    [
        ({}, (1.1, 0.8), (1.24, 0.72)),
        ({"nesterov": True}, (1.19, 0.62), (1.366, 0.648)),
    ],
)
def test_two_rounds(parameters: dict[str, Value], first: Pair, second: Pair) -> None:
    check_two_rounds("fedavgm", first, second, **parameters)


def test_it_stays_where_nothing_changes() -> None:
    check_rest("fedavgm")
