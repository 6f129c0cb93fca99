"""Norm bounding, in closed form."""

import pytest

from tests.methods.quadratics import LR, Federation

# One step with rate 0.1 on (w - b)^2 / 2 from 0 ends at 0.1 b: changes of norm 0.5 and 5.
QUADRATICS = [(1.0, (3.0, 4.0)), (1.0, (30.0, -40.0))]


def run(bound: float) -> list[float]:
    federation = Federation("norm-bounding", QUADRATICS, [1, 1], start=(0.0, 0.0), local=LR, bound=bound)
    return federation.round()


def test_longer_changes_are_shortened_to_the_bound() -> None:
    assert run(1.0) == pytest.approx([(0.3 + 0.6) / 2, (0.4 - 0.8) / 2])
    assert run(0.25) == pytest.approx([(0.15 + 0.15) / 2, 0.0], abs=1e-12)


def test_with_a_bound_above_all_it_is_fedavg() -> None:
    federation = Federation("fedavg", QUADRATICS, [1, 1], start=(0.0, 0.0), local=LR)
    assert run(5.1) == federation.round()
