from typing import ClassVar

import pytest

from common.config import Config
from common.errors import UserError
from common.rates import gradual_warmup_steps, step_factors, varies_by_step
from common.rates import learning_rate as rate_of_round
from common.sections import Value
from tests.common.configs import make_config


def configured(**keys: Value) -> Config:
    given = {key.replace("__", ".").replace("_", "-"): value for key, value in keys.items()}
    return make_config({"optimizer.learning-rate": 0.1}, given)


def learning_rate(config: Config, server_round: int, num_rounds: int) -> float:
    return rate_of_round(config.model_copy(update={"rounds": num_rounds}), server_round)


def step_factor(config: Config, step: int, total_steps: int, gradual: int = 0) -> float:
    (factor,) = step_factors(config, [step], total_steps, gradual)
    return factor


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [(0, 0.1), (1, 0.0999890342), (50, 0.075), (75, 0.05), (149, 0.0000109658), (150, 0.0)],
)
def test_cosine(elapsed: int, expected: float) -> None:
    rate = learning_rate(configured(schedule__name="cosine"), elapsed + 1, 150)
    assert rate == pytest.approx(expected, abs=5e-11)


def test_constant() -> None:
    assert [learning_rate(configured(), server_round, 3) for server_round in (1, 2, 3)] == [0.1, 0.1, 0.1]


def test_step() -> None:
    section = configured(schedule__name="step", schedule__step_rounds=3, schedule__gamma=0.5)
    rates = [learning_rate(section, server_round, 100) for server_round in range(1, 9)]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025], rel=1e-12)


def test_warm_up_ends_at_the_full_rate() -> None:
    rates = [
        learning_rate(configured(schedule__warmup_rounds=4), server_round, 10) for server_round in range(1, 7)
    ]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1], rel=1e-12)


def test_warm_up_multiplies_the_schedule() -> None:
    with_warm_up = configured(schedule__name="cosine", schedule__warmup_rounds=2)
    assert learning_rate(with_warm_up, 1, 4) == pytest.approx(0.05, rel=1e-12)
    assert learning_rate(with_warm_up, 2, 4) == pytest.approx(0.1 * (1 + 2**-0.5) / 2, rel=1e-12)
    assert learning_rate(with_warm_up, 3, 4) == pytest.approx(0.05, rel=1e-12)


class TestLargeBatches:
    """The rule of You et al. 2020 as in the course's specification, 5.12 and 8.1."""

    rule: ClassVar[dict[str, Value]] = {
        "optimizer__learning_rate": 0.01,
        "local__batch_size": 512,
        "optimizer__learning_rate_scaling": "sqrt",
        "optimizer__reference_batch_size": 64,
        "schedule__warmup_epochs": 0.3125 / 8,
        "schedule__name": "polynomial-steps",
    }

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (0, 0.0010101525),
            (27, 0.0282842712),
            (28, 0.0282842712),
            (6600, 0.0141721979),
            (13199, 0.0000021473),
        ],
    )
    def test_rates(self, step: int, expected: float) -> None:
        section = configured(**self.rule)
        warm_up = gradual_warmup_steps(section, 88)
        rate = learning_rate(section, 1, 150) * step_factor(section, step, 150 * 88, warm_up)
        assert warm_up == 28
        assert rate == pytest.approx(expected, abs=5e-11)

    def test_rate_and_warm_up_grow_with_the_batch(self) -> None:
        sizes = [64 * 2**power for power in range(9)]
        sections = [configured(**{**self.rule, "local__batch_size": size}) for size in sizes]
        assert [
            section.optimizer.batch_factor(section.local.batch_size) for section in sections
        ] == pytest.approx([1, 1.414, 2, 2.828, 4, 5.657, 8, 11.31, 16], rel=1e-3)
        # In thousandths of an epoch.
        assert [gradual_warmup_steps(section, 1000) for section in sections] == [
            39, 78, 156, 313, 625, 1250, 2500, 5000, 10000,
        ]  # fmt: skip

    def test_linear_scaling_keeps_the_warm_up(self) -> None:
        section = configured(
            **{**self.rule, "optimizer__learning_rate_scaling": "linear", "schedule__warmup_epochs": 5.0}
        )
        assert section.optimizer.batch_factor(section.local.batch_size) == 8
        assert gradual_warmup_steps(section, 100) == 500

    def test_power_two(self) -> None:
        section = configured(schedule__name="polynomial-steps", schedule__power=2.0)
        factors = [step_factor(section, step, 4) for step in range(5)]
        assert factors == pytest.approx([1, 9 / 16, 1 / 4, 1 / 16, 0], abs=1e-15)


def test_milestones_halve_the_rate_after_a_half_and_three_quarters() -> None:
    section = configured(optimizer__learning_rate=0.01, schedule__name="milestones", schedule__gamma=0.5)
    rates = [learning_rate(section, server_round, 16) for server_round in range(1, 17)]
    assert rates == pytest.approx([0.01] * 8 + [0.005] * 4 + [0.0025] * 4)
    assert learning_rate(section, 8, 15) == pytest.approx(0.005)  # R // 2


@pytest.mark.parametrize("milestones", ["", "half", "0.5,1.5"])
def test_milestones_are_fractions(milestones: str) -> None:
    with pytest.raises(UserError, match="fractions of the run"):
        configured(schedule__name="milestones", schedule__milestones=milestones)


def by_steps(section: Config, count: int, total: int = 0) -> list[float]:
    return [section.optimizer.learning_rate * step_factor(section, step, total) for step in range(count)]


def test_warm_up_by_steps() -> None:
    # The authors' code for four clients: from 0.1 to 4 x 0.1 in six local steps.
    rates = by_steps(
        configured(
            optimizer__learning_rate=0.4, schedule__warmup_learning_rate=0.1, schedule__warmup_steps=6
        ),
        9,
    )
    assert rates == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.4, 0.4], rel=1e-12)
    assert (
        by_steps(
            configured(
                optimizer__learning_rate=0.1, schedule__warmup_learning_rate=0.1, schedule__warmup_steps=6
            ),
            3,
        )
        == [0.1] * 3
    )
    scaled = configured(
        optimizer__learning_rate=0.1,
        schedule__warmup_learning_rate=0.2,
        schedule__warmup_steps=4,
        local__batch_size=256,
        optimizer__learning_rate_scaling="linear",
    )
    rates = [learning_rate(scaled, 1, 9) * step_factor(scaled, step, 9) for step in range(6)]
    assert rates == pytest.approx([0.2, 0.25, 0.3, 0.35, 0.4, 0.4])
    assert not varies_by_step(configured(optimizer__learning_rate=0.32))


def test_a_decay_in_the_midst_of_the_warm_up_scales_the_rest() -> None:
    section = configured(
        optimizer__learning_rate=0.4,
        schedule__warmup_learning_rate=0.1,
        schedule__warmup_steps=6,
        local__steps=3,
        local__epochs=0,
        local__phases="3:1",
        schedule__phase_gamma=0.1,
    )
    course = section.local.step_plan()
    rounds = [1, 1, 1, 2, 3, 4, 5, 6]  # one of three steps, then of one
    rates = [learning_rate(section, r, 9) * step_factor(section, t, 0) for t, r in enumerate(rounds)]
    assert [course.first_step(r) for r in (1, 2, 3, 6)] == [0, 3, 4, 7]
    assert rates == pytest.approx([0.1, 0.15, 0.2, 0.025, 0.03, 0.035, 0.04, 0.04], rel=1e-12)


def test_every_phase_has_its_rate() -> None:
    section = configured(
        optimizer__learning_rate=0.32,
        local__steps=4,
        local__epochs=0,
        local__phases="24:6,48:12",
        schedule__phase_gamma=0.1,
    )
    rates = [learning_rate(section, server_round, 12) for server_round in (1, 6, 7, 10, 11, 12)]
    assert rates == pytest.approx([0.32, 0.32, 0.032, 0.032, 0.0032, 0.0032], rel=1e-12)


def test_one_cosine_over_all_local_steps() -> None:
    rates = by_steps(configured(schedule__name="cosine-steps"), 151, 150)
    chosen = [rates[step] for step in (0, 1, 50, 75, 149, 150)]
    assert chosen == pytest.approx([0.1, 0.0999890342, 0.075, 0.05, 0.0000109658, 0.0], abs=5e-11)
    assert varies_by_step(configured(schedule__name="cosine-steps"))
