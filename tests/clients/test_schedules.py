import pytest

from clients.schedules import learning_rate, step_factor, varies_by_step
from common.config import LocalSection, Value
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


def by_steps(section: LocalSection, count: int, total: int = 0) -> list[float]:
    return [section.learning_rate * step_factor(section, step, total) for step in range(count)]


def test_warm_up_by_steps() -> None:
    # The authors' code for four workers: from 0.1 to 4 x 0.1 in six local steps.
    rates = by_steps(local(lr=0.4, warmup_lr=0.1, warmup_steps=6), 9)
    assert rates == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.4, 0.4], rel=1e-12)
    assert by_steps(local(lr=0.1, warmup_lr=0.1, warmup_steps=6), 3) == [0.1] * 3
    assert not varies_by_step(local(lr=0.32))


def test_a_decay_in_the_midst_of_the_warm_up_scales_the_rest() -> None:
    section = local(lr=0.4, warmup_lr=0.1, warmup_steps=6, steps=3, epochs=0, phases="3:1", phase_gamma=0.1)
    course = section.course()
    rounds = [1, 1, 1, 2, 3, 4, 5, 6]  # one of three steps, then of one
    rates = [learning_rate(section, r, 9) * step_factor(section, t, 0) for t, r in enumerate(rounds)]
    assert [course.first_step(r) for r in (1, 2, 3, 6)] == [0, 3, 4, 7]
    assert rates == pytest.approx([0.1, 0.15, 0.2, 0.025, 0.03, 0.035, 0.04, 0.04], rel=1e-12)


def test_every_phase_has_its_rate() -> None:
    section = local(lr=0.32, steps=4, epochs=0, phases="24:6,48:12", phase_gamma=0.1)
    rates = [learning_rate(section, server_round, 12) for server_round in (1, 6, 7, 10, 11, 12)]
    assert rates == pytest.approx([0.32, 0.32, 0.032, 0.032, 0.0032, 0.0032], rel=1e-12)


def test_one_cosine_over_all_local_steps() -> None:
    rates = by_steps(local(scheduler="cosine-steps"), 151, 150)
    chosen = [rates[step] for step in (0, 1, 50, 75, 149, 150)]
    assert chosen == pytest.approx([0.1, 0.0999890342, 0.075, 0.05, 0.0000109658, 0.0], abs=5e-11)
    assert varies_by_step(local(scheduler="cosine-steps"))
