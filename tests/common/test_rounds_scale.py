import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.rates import learning_rate
from common.rounds_scale import scale_rounds
from tests.common.configs import make_config


def flat(**overrides: object) -> dict[str, object]:
    keys = {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()}
    return make_config(keys).flat()  # type: ignore[arg-type,return-value]


def test_rounds_and_warm_up_are_multiplied_and_evaluation_stays() -> None:
    scaled = scale_rounds(flat(rounds=2000, schedule__warmup_rounds=50, evaluate__every=50), 0.1)  # type: ignore[arg-type]
    assert scaled == {"rounds": 200, "schedule.warmup-rounds": 5}
    assert all(type(value) is int for value in scaled.values())


@pytest.mark.parametrize(("factor", "rounds"), [(0.001, 1), (0.25, 2), (0.35, 2), (0.36, 3), (1, 7), (2, 14)])
def test_rounding_is_half_up_and_at_least_one(factor: float, rounds: int) -> None:
    assert scale_rounds(flat(rounds=7), factor)["rounds"] == rounds  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_makes_no_sense(factor: float) -> None:
    with pytest.raises(UserError, match="--rounds-scale must be a number greater than 0"):
        scale_rounds(flat(), factor)  # type: ignore[arg-type]


def test_a_whole_step_leaves_gamma_alone() -> None:
    values = flat(schedule__name="step", schedule__step_rounds=80, schedule__gamma=0.1)
    scaled = scale_rounds(values, 0.1)  # type: ignore[arg-type]
    assert (scaled["schedule.step-rounds"], scaled["schedule.gamma"]) == (8, 0.1)


@given(st.integers(1, 40), st.floats(0.02, 3))
def test_the_decay_over_the_run_is_kept(step: int, factor: float) -> None:
    values = flat(schedule__name="step", schedule__step_rounds=step, schedule__gamma=0.9)
    scaled = scale_rounds(values, factor)  # type: ignore[arg-type]
    new_step, gamma = scaled["schedule.step-rounds"], scaled["schedule.gamma"]
    assert isinstance(new_step, int) and isinstance(gamma, float)  # noqa: PT018
    assert gamma ** (1 / new_step) == pytest.approx(0.9 ** (1 / (step * factor)))


def test_an_exponential_schedule_ends_where_the_long_one_does() -> None:
    values = flat(rounds=200, schedule__name="step", schedule__step_rounds=1, schedule__gamma=0.98)
    short = make_config({**values, **scale_rounds(values, 0.1)})  # type: ignore[arg-type]
    last = learning_rate(short.model_copy(update={"rounds": 20}), 21) / short.optimizer.learning_rate
    assert last == pytest.approx(0.98**200)


def test_a_warm_up_in_epochs_is_scaled_exactly() -> None:
    scaled = scale_rounds(flat(rounds=150, schedule__warmup_epochs=0.25), 0.1)  # type: ignore[arg-type]
    assert scaled == {"rounds": 15, "schedule.warmup-epochs": 0.025}


def test_phases_and_totals_are_multiplied_and_rounds_follow() -> None:
    values = flat(
        rounds=413, local__epochs=0, local__steps=64, local__total_steps=26400, schedule__warmup_steps=1320,
    )  # fmt: skip
    scaled = scale_rounds(values, 0.1)  # type: ignore[arg-type]
    assert scaled == {"rounds": 42, "schedule.warmup-steps": 132, "local.total-steps": 2640}
    values = flat(
        rounds=3005, local__epochs=0, local__steps=1, local__phases="3000:600", local__total_steps=6000
    )
    scaled = scale_rounds(values, 0.5)  # type: ignore[arg-type]
    assert scaled == {"rounds": 1503, "local.phases": "1500:600", "local.total-steps": 3000}
    assert make_config({**values, **scaled}).local.step_plan().steps(1503) == 300  # type: ignore[arg-type]
