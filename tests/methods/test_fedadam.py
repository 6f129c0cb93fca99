"""FedAdam in closed form, in float64."""

import pytest

from common.sections import Value
from tests.methods.quadratics import Federation, close
from tests.methods.server_optimisers import Pair, check_rest, check_two_rounds


def test_fedadam_second_moment() -> None:
    federation = Federation(
        "fedadam",
        [(1.0, (1.1, 0.8))],
        [1],
        start=[1.0, 1.0],
        local={"optimizer.learning-rate": 1.0},
        tau=0.01,
    )
    federation.round()
    assert federation.strategy.second_moment["w"].tolist() == close(0.000199, 0.000499)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("parameters", "first", "second"),
    [
        ({}, (1.0414821816, 0.9381538451), (1.0977070812, 0.9148793035)),
        ({"v0_zero": True}, (1.05, 0.9333333333), (1.1162391757, 0.9085433183)),
        (
            {"v0_zero": True, "flower_bias_correction": True},
            (1.0371229894, 0.9505026808),
            (1.0792471407, 0.9347377149),
        ),
    ],
)
def test_two_rounds(parameters: dict[str, Value], first: Pair, second: Pair) -> None:
    check_two_rounds("fedadam", first, second, server_learning_rate=0.1, tau=0.01, **parameters)


def test_it_stays_where_nothing_changes() -> None:
    check_rest("fedadam")
