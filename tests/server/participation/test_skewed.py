"""Cohorts from one skewed distribution."""

import math

import numpy as np
import pytest

from tests.server.participation.schemes import message_of, participation


class TestSkewed:
    def test_probabilities_are_drawn_once_and_are_a_distribution(self) -> None:
        scheme = participation("skewed", gamma=0.1)
        before = scheme.scheme.probabilities()
        assert before is not None
        cohort = scheme.cohort(5, 0.1)
        for server_round in range(1, 30):
            scheme.cohort(server_round, 0.1)
        assert scheme.cohort(5, 0.1) == cohort == participation("skewed", gamma=0.1).cohort(5, 0.1)
        after = scheme.scheme.probabilities()
        assert after is not None
        assert after.tolist() == before.tolist()
        assert before.sum() == pytest.approx(1)

    def test_seed_and_round_decide(self) -> None:
        assert len({tuple(participation("skewed", seed=seed).cohort(1, 0.1)) for seed in range(10)}) == 10
        scheme = participation("skewed")
        assert len({tuple(scheme.cohort(server_round, 0.1)) for server_round in range(1, 30)}) == 29

    @pytest.mark.parametrize("gamma", [1e-38, 1e-8, 0.05])
    def test_tiny_gamma_always_finds_a_cohort(self, gamma: float) -> None:
        scheme = participation("skewed", gamma=gamma)
        for server_round in range(1, 200):
            cohort = scheme.cohort(server_round, 0.1)
            assert len(set(cohort)) == 10
        p, inclusion = scheme.scheme.probabilities(), scheme.scheme.inclusion()
        assert p is not None
        assert inclusion is not None
        assert p.sum() == pytest.approx(1)
        assert inclusion.sum() == pytest.approx(10, abs=0.1)
        if gamma < 0.01:  # sequential draws are certain
            assert np.flatnonzero(inclusion > 0.5).tolist() == cohort

    def test_large_gamma_is_uniform(self) -> None:
        scheme = participation("skewed", gamma=1e12).scheme
        inclusion = scheme.inclusion()
        assert inclusion == pytest.approx(np.full(100, 0.1), abs=1e-3)

    def test_cohorts_have_the_inclusion_probabilities(self) -> None:
        scheme = participation("skewed", count=20, gamma=0.5)
        inclusion = scheme.scheme.inclusion()
        assert inclusion is not None
        counts = np.zeros(20)
        for server_round in range(1, 4001):
            counts[scheme.cohort(server_round, 0.1)] += 1
        assert counts / 4000 == pytest.approx(inclusion, abs=5 * math.sqrt(0.25 / 4000))

    @pytest.mark.parametrize(
        ("gamma", "low", "high"), [(0.05, 2, 20), (0.5, 25, 45), (1, 40, 65), (5, 75, 92), (1e6, 99.9, 100)]
    )
    def test_effective_number_of_clients(self, gamma: float, low: float, high: float) -> None:
        numbers = []
        for seed in range(5):
            p = participation("skewed", gamma=gamma, seed=seed).scheme.probabilities()
            assert p is not None
            numbers.append(1 / (p**2).sum())
        # E[sum p^2] = (gamma + 1) / (K gamma + 1).
        assert low < np.mean(numbers) < high

    def test_the_evaluation_cohort_stays_uniform(self) -> None:
        cohorts = [participation(name).cohort(3, 0.2, "evaluation") for name in ("skewed", "uniform")]
        assert cohorts[0] == cohorts[1]

    def test_correction_is_the_inverse_of_inclusion(self) -> None:
        assert participation("skewed").weights([0, 5]) == {}
        scheme = participation("skewed", gamma=0.5, correction="inverse-inclusion")
        inclusion = scheme.scheme.inclusion()
        assert inclusion is not None
        weights = scheme.weights([3, 50])
        assert weights == {client: pytest.approx(1 / inclusion[client]) for client in (3, 50)}
        # Cohorts, p and inclusion are those of the run without a correction.
        plain = participation("skewed", gamma=0.5)
        assert plain.cohort(1, 0.1) == scheme.cohort(1, 0.1)

    def test_inverse_inclusion_is_unbiased(self) -> None:
        # The Horvitz-Thompson total: sum over the cohort of y_i / pi_i has the mean sum y_i.
        scheme = participation("skewed", count=20, gamma=1.0, correction="inverse-inclusion")
        values = np.arange(1.0, 21.0)
        totals = []
        for server_round in range(1, 4001):
            weights = scheme.weights(scheme.cohort(server_round, 0.1))
            totals.append(sum(weight * values[client] for client, weight in weights.items()))
        error = np.std(totals) / math.sqrt(len(totals))
        assert abs(np.mean(totals) - values.sum()) < 5 * error
        assert error < 0.1 * values.sum()

    @pytest.mark.parametrize("gamma", [0.0, -1.0, -5])
    def test_gamma_must_be_positive(self, gamma: float) -> None:
        assert message_of("skewed", gamma=gamma).startswith("participation.gamma must be greater than 0")
