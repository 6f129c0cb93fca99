import pytest

from clients.schedules import learning_rate
from common.config import LocalSection, Value
from common.errors import UserError
from tests.common.configs import make_config


def local(**keys: Value) -> LocalSection:
    layer = {f"local.{key.replace('_', '-')}": value for key, value in keys.items()}
    return make_config({"local.lr": 0.1}, layer).local


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [(0, 0.1), (1, 0.0999890342), (50, 0.075), (75, 0.05), (149, 0.0000109658), (150, 0.0)],
)
def test_cosine(elapsed: int, expected: float) -> None:
    rate = learning_rate(local(scheduler="cosine"), elapsed + 1, 150)
    assert rate == pytest.approx(expected, abs=5e-11)


def test_constant() -> None:
    assert [learning_rate(local(), server_round, 3) for server_round in (1, 2, 3)] == [0.1, 0.1, 0.1]


def test_step() -> None:
    section = local(scheduler="step", scheduler_step_rounds=3, scheduler_gamma=0.5)
    rates = [learning_rate(section, server_round, 100) for server_round in range(1, 9)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025], rel=1e-12)


def test_warm_up_ends_at_the_full_rate() -> None:
    rates = [learning_rate(local(warmup_rounds=4), server_round, 10) for server_round in range(1, 7)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-12)


def test_warm_up_multiplies_the_schedule() -> None:
    with_warm_up = local(scheduler="cosine", warmup_rounds=2)
    assert learning_rate(with_warm_up, 1, 4) == pytest.approx(0.05, rel=1e-12)
    assert learning_rate(with_warm_up, 2, 4) == pytest.approx(0.1 * (1 + 2**-0.5) / 2, rel=1e-12)
    assert learning_rate(with_warm_up, 3, 4) == pytest.approx(0.05, rel=1e-12)


def test_milestones_halve_the_rate_after_a_half_and_three_quarters() -> None:
    section = local(lr=0.01, scheduler="milestones", scheduler_gamma=0.5)
    rates = [learning_rate(section, server_round, 16) for server_round in range(1, 17)]
    assert rates == pytest.approx([0.01] * 8 + [0.005] * 4 + [0.0025] * 4)
    assert learning_rate(section, 8, 15) == pytest.approx(0.005)  # R // 2


@pytest.mark.parametrize("milestones", ["", "half", "0.5,1.5"])
def test_milestones_are_fractions(milestones: str) -> None:
    with pytest.raises(UserError, match="fractions of the run"):
        local(scheduler="milestones", milestones=milestones)
