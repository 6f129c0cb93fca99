"""Epsilon against closed forms."""

import math

import pytest
from dp_accounting import get_epsilon_gaussian

from strategies._privacy_accounting import Accountant

DELTA = 1e-5


def epsilon(
    z: float, rounds: int, cohort: int = 10, clients: int = 10, relation: str = "zero-out", **options: bool
) -> float:
    amplified = options.get("amplified", True)
    return Accountant(z, cohort, clients, amplified, relation, DELTA).epsilon(rounds)  # type: ignore[arg-type]


def from_renyi(divergence_per_order: float) -> float:
    """min over orders of r + log(1 - 1/a) - log(delta a) / (a - 1) (Canonne et al. 2020, Proposition 12)."""
    orders = [1 + i / 1000 for i in range(20, 100_000)]
    return min(divergence_per_order * a + math.log1p(-1 / a) - math.log(DELTA * a) / (a - 1) for a in orders)


@pytest.mark.parametrize(("z", "rounds"), [(1.0, 1), (1.0, 10), (2.0, 50), (4.0, 100), (0.5, 3)])
def test_full_participation_is_the_gaussian_mechanism(z: float, rounds: int) -> None:
    # One round has divergence a / (2 z^2) at order a; rounds add up.
    expected = from_renyi(rounds / (2 * z**2))
    assert epsilon(z, rounds) == pytest.approx(expected, rel=2e-3)
    # Rounds together are one Gaussian with z / sqrt(rounds), whose epsilon is known exactly and below.
    exact = get_epsilon_gaussian(z / math.sqrt(rounds), DELTA)
    assert exact < epsilon(z, rounds) < 1.15 * exact


@pytest.mark.parametrize("rounds", [1, 20])
def test_replacing_a_client_moves_the_sum_twice_as_far(rounds: int) -> None:
    assert epsilon(3.0, rounds, relation="replace-one") == epsilon(1.5, rounds, relation="zero-out")


def test_sampling_is_paid_out_only_for_uniform_cohorts_and_replacement() -> None:
    sampled = epsilon(1.0, 10, 5, 100, "replace-one")
    full = epsilon(1.0, 10, 100, 100, "replace-one")
    assert sampled < full / 2
    assert epsilon(1.0, 10, 5, 100, "replace-one", amplified=False) == full
    assert epsilon(1.0, 10, 5, 100, "zero-out") == epsilon(1.0, 10, 100, 100, "zero-out")


def test_sampling_at_order_two() -> None:
    # Wang et al. 2019, Theorem 27: exp(r) = 1 + q^2 min(4 (exp(s) - 1), 2 exp(s)) with s = 1 / sigma^2.
    accountant = Accountant(2.0, 1, 20, True, "replace-one", DELTA)
    order = list(accountant._orders).index(2.0)
    expected = math.log1p((1 / 20) ** 2 * min(4 * (math.e - 1), 2 * math.e))
    assert accountant._rdp[order] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("z", "rounds", "cohort"), [(0.6, 300, 4), (1.0, 50, 20), (3.0, 5, 39)])
def test_more_noise_fewer_rounds_and_smaller_cohorts_cost_less(z: float, rounds: int, cohort: int) -> None:
    of_run = epsilon(z, rounds, cohort, 40, "replace-one")
    assert 0 < epsilon(z * 1.2, rounds, cohort, 40, "replace-one") < of_run
    assert epsilon(z, rounds + 1, cohort, 40, "replace-one") > of_run
    assert epsilon(z, rounds, cohort + 1, 40, "replace-one") >= of_run
    assert epsilon(z, rounds, 40, 40, "replace-one") >= of_run


def test_no_round_costs_nothing() -> None:
    assert epsilon(1.0, 0) == 0.0
