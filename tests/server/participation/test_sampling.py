"""Draws without replacement, and the probabilities of being in a cohort."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.participation._sampling import gumbel_top, inclusion_probabilities

P = np.array([0.5, 0.3, 0.2])
INCLUSION_OF_TWO = [0.8392857143, 0.675, 0.4857142857]


class TestSampling:
    @pytest.mark.parametrize(("size", "expected"), [(1, P), (2, INCLUSION_OF_TWO), (3, [1.0] * 3)])
    def test_inclusion_of_sequential_draws(self, size: int, expected: Sequence[float]) -> None:
        draws = gumbel_top(np.broadcast_to(np.log(P), (200_000, 3)), size, np.random.default_rng(0))
        assert draws.shape == (200_000, size)
        frequencies = np.bincount(draws.ravel(), minlength=3) / 200_000
        assert frequencies == pytest.approx(expected, abs=0.005)
        # The same distribution whatever the scale of the weights.
        estimated = inclusion_probabilities(np.log(P) - 1000, size, np.random.default_rng(0), 200_000)
        assert estimated == pytest.approx(expected, abs=0.003)

    def test_draws_come_in_order(self) -> None:
        first = gumbel_top(np.broadcast_to(np.log(P), (200_000, 3)), 3, np.random.default_rng(1))[:, 0]
        assert np.bincount(first) / 200_000 == pytest.approx(P, abs=0.005)

    def test_inclusion_probabilities_of_rare_clients_are_not_zero(self) -> None:
        estimated = inclusion_probabilities(np.log([0.5, 0.5, 1e-9]), 1, np.random.default_rng(0))
        assert estimated[2] == pytest.approx(1e-9, rel=0.05)  # counting 20,000 draws would give 0
        # Weights far below the smallest number: the order is certain.
        estimated = inclusion_probabilities(np.array([0.0, -2e4, -1e4]), 2, np.random.default_rng(0))
        assert estimated.tolist() == [1.0, 0.0, 1.0]

    def test_inclusion_probabilities_of_many_clients_need_few_draws(self) -> None:
        log_weights = np.log(np.tile([1.0, 3.0], 20_000))
        estimated = inclusion_probabilities(log_weights, 40, np.random.default_rng(0))
        # Of a cohort that is a thousandth of all, pi is m p to first order: 40 / 80,000 and three times that.
        assert estimated[::2] == pytest.approx(0.0005, rel=0.005)
        assert estimated[1::2] == pytest.approx(0.0015, rel=0.005)

    @given(st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=12), st.data(), st.integers(0, 2**32 - 1))
    @settings(max_examples=50)
    def test_invariants(self, log_weights: list[float], data: st.DataObject, seed: int) -> None:
        size = data.draw(st.integers(1, len(log_weights)))
        weights = np.array(log_weights)
        drawn = gumbel_top(weights, size, np.random.default_rng(seed))
        assert len(set(drawn.tolist())) == size
        inclusion = inclusion_probabilities(weights, size, np.random.default_rng(seed), 500)
        assert np.isfinite(inclusion).all()
        assert ((inclusion >= 0) & (inclusion <= 1)).all()
        assert inclusion.sum() == pytest.approx(size, abs=0.3)
