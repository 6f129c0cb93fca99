"""HeteroNova in closed form, in float64."""

import pytest

from tests.methods.quadratics import LR
from tests.methods.sized import SizedFederation, SizedRelations, slopes, three_clients


def test_o25_nova_over_two_holders() -> None:
    losses = [slopes(w=1.5), slopes(w=1.0)]  # 1 -> .7 in 2 steps, 1 -> .6 in 4
    run = SizedFederation("heteronova", {"w": [1.0]}, ["w", "w"], losses, [2, 4], local=LR)
    assert run.run_round()["w"].item() == pytest.approx(0.625, abs=1e-12)
    plain = SizedFederation("heteroavg", {"w": [1.0]}, ["w", "w"], losses, [2, 4], local=LR)
    assert plain.run_round()["w"].item() == pytest.approx(0.65, abs=1e-12)


@pytest.mark.parametrize(("steps", "weight"), [(3, 5.61), (5, 13.1441)])
def test_o25_work_with_momentum(steps: int, weight: float) -> None:
    run = SizedFederation(
        "heteronova", {"w": [1.0]}, ["w"], [slopes(w=1)], [steps], local={**LR, "optimizer.momentum": 0.9}
    )
    run.run_round()
    assert run.clients[0].step_weight_norm == pytest.approx(weight, abs=1e-12)


def test_m26_equal_work_makes_nova_heteroavg() -> None:
    nova, plain = three_clients("heteronova", (3, 3, 3)), three_clients("heteroavg", (3, 3, 3))
    for cohort in ([0, 1, 2], [1, 2]):
        expected = plain.run_round(cohort)
        for name, value in nova.run_round(cohort).items():
            assert value.item() == pytest.approx(expected[name].item(), abs=1e-12)


def test_m26_a_sole_holder_makes_nova_heteroavg_for_its_entry() -> None:
    nova, plain = three_clients("heteronova").run_round([0, 1]), three_clients("heteroavg").run_round([0, 1])
    assert nova["v"].item() == pytest.approx(plain["v"].item(), abs=1e-12)
    assert abs(nova["w"].item() - plain["w"].item()) > 1e-3


class TestRelations(SizedRelations):
    METHOD = "heteronova"
