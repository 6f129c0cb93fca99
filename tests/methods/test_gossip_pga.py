"""Gossip-PGA: between gossip SGD and Local SGD."""

import numpy as np
import pytest

from common.sections import Value
from tests.methods.test_gossip_sgd import FOUR, W, federation, gradients, models


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("period", "other"), [(1, "localsgd"), (0, "gossip-sgd"), (1000, "gossip-sgd")])
def test_its_ends(steps: int, period: int, other: str) -> None:
    keys: dict[str, Value] = {"optimizer.momentum": 0.9, "momentum": "average"}
    made = federation(FOUR, steps, "gossip-pga", period=period, **keys)
    same = federation(FOUR, steps, other, **keys)
    for _ in range(5):
        assert made.round() == pytest.approx(same.round(), abs=1e-12)


def test_every_third_round_is_global() -> None:
    made, x = federation(FOUR, method="gossip-pga", period=3), np.zeros(4)
    for number in range(1, 8):
        y = x - 0.1 * gradients(x)
        x = np.full(4, y.mean()) if number % 3 == 0 else W @ y
        made.round()
        np.testing.assert_allclose(models(made), x, atol=1e-12)
        columns = made.strategy.columns(number)
        assert columns["spectral_gap"] == pytest.approx(1.0 if number % 3 == 0 else 0.5)
        assert columns["peer_bytes"] == 8 * (2 * 3 if number % 3 == 0 else 8)


def test_a_global_round_takes_the_time_of_a_ring_all_reduce() -> None:
    made = federation(FOUR, method="gossip-pga", period=2)
    made.round()
    assert [made.strategy.bytes_on_the_clock(1, number, 16) for number in (1, 2)] == [4 * 8, 4 * 3 / 4 * 8]


def test_in_the_other_order_global_rounds_average_what_was_there() -> None:
    made, x = federation(FOUR, method="gossip-pga", period=2, order="combine-then-adapt"), np.zeros(4)
    for number in range(1, 5):
        mixed = np.full(4, x.mean()) if number % 2 == 0 else W @ x
        x = mixed - 0.1 * gradients(x)
        made.round()
        np.testing.assert_allclose(models(made), x, atol=1e-12)
