"""HeteroProx in closed form, in float64."""

import pytest

from tests.methods.sized import (
    SizedFederation,
    SizedRelations,
    check_it_is_heteroavg,
    check_one_size,
    slopes,
    three_clients,
)


def test_a_prox_term_pulls_to_the_received_part() -> None:
    values, lr = {"w": [1.0], "v": [4.0]}, {"optimizer.learning-rate": 1.0}
    run = SizedFederation("heteroprox", values, ["w"], [slopes(w=-0.5)], [2], local=lr, mu=0.1)
    # O27: at w = 1.5, W = 1 the extra gradient is .05; w: 1 -> 1.5 -> 1.5 + .5 - .05.
    assert run.run_round()["w"].item() == pytest.approx(1.95, abs=1e-12)


def test_prox_has_the_papers_mu() -> None:
    assert three_clients("heteroprox").clients[0].mu == 0.1  # type: ignore[attr-defined]


class TestRelations(SizedRelations):
    METHOD = "heteroprox"


def test_m25_without_its_term_it_is_heteroavg() -> None:
    check_it_is_heteroavg("heteroprox", mu=0.0)


def test_m2_with_one_size_it_is_fedprox() -> None:
    check_one_size("heteroprox", "fedprox", mu=0.1)
