"""Rules for the number of local steps, and runs that follow them."""

import math

import pandas as pd
import pytest

from common.config import Config
from common.config_values import merge
from common.errors import UserError
from common.rounds_scale import scale_rounds
from common.sections import Value
from common.step_rules import Progress, StepRule
from common.step_rules.adacomm import adacomm
from common.step_rules.doubling import doubling
from common.step_rules.linear import linear
from common.step_rules.qsr import quadratic_rule
from server.local_steps import LocalSteps
from tests.conftest import Runner


def configured(**values: Value) -> Config:
    given = {key.replace("__", ".").replace("_", "-"): value for key, value in values.items()}
    return Config.from_flat(
        merge({"local.epochs": 0, "local.steps": 16, "rounds": 10, "optimizer.learning-rate": 0.1}, given)
    )


def test_adacomm() -> None:
    assert [adacomm(loss, 2.5, 16) for loss in (2.5, 1.6, 1.0, 0.4)] == [16, 13, 11, 7]
    ratios = ((2.5, 1), (1.0, 10), (0.4, 100))
    assert [adacomm(loss, 2.5, 16, factor) for loss, factor in ratios] == [16, 32, 64]


def test_quadratic_rule() -> None:
    assert [quadratic_rule(rate, 4, 0.2) for rate in (0.1, 0.05, 0.02, 0.01)] == [4, 16, 100, 400]
    assert quadratic_rule(1.0, 4, 0.2) == 4
    for vanished in (1e-200, 5e-324, 0.0):  # the square overflows
        assert quadratic_rule(vanished, 4, 0.2) >= 10**14
    assert adacomm(1.0, 1e-300, 4, 1e300) >= 10**14


def test_schedules() -> None:
    assert [doubling(done / 10, 4, 64) for done in range(11)] == [4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 64]
    assert [linear(done / 4, 4, 64) for done in range(5)] == [4, 19, 34, 49, 64]


def decide_all(config: Config, rows: list[dict[str, float]]) -> list[int | None]:
    local_steps, found = LocalSteps(config), []
    for server_round, row in enumerate(rows, start=1):
        found.append(local_steps.decide(server_round))
        if local_steps.observe(found[-1], row):
            break
        restored = LocalSteps(config)
        restored.restore(local_steps.state())
        local_steps = restored
    return found


def losses(*values: float, name: str = "train_loss") -> list[dict[str, float]]:
    return [{"train_loss": 1.0, name: value} for value in values]


def test_adacomm_in_a_run() -> None:
    """Round r looks at the loss of round r - 1; where that is no lower, J is halved down to its bound."""
    config = configured(steps__rule="adacomm")
    assert decide_all(config, losses(2.5, 1.6, 1.0, 1.0, 1.0, 1.0)) == [16, 8, 4, 4, 4, 4]
    config = configured(steps__rule="adacomm", steps__interval=2, steps__min=1)
    assert decide_all(config, losses(2.5, 1.6, 1.6, 1.0, 1.0, 0.4)) == [16, 16, 13, 13, 11, 11]


def test_adacomm_looks_at_the_decay_of_the_rate_alone() -> None:
    """Neither warm-up nor the factor of the batch size is a change of it."""
    config = configured(
        steps__rule="adacomm", local__batch_size=256, optimizer__learning_rate_scaling="sqrt",
        schedule__warmup_rounds=4,
        schedule__name="step", schedule__step_rounds=2, schedule__gamma=0.25,
    )  # fmt: skip
    assert decide_all(config, losses(2.5, 2.5, 2.5, 2.5)) == [16, 8, 32, 16]


def test_a_round_in_which_nobody_trained_changes_nothing() -> None:
    config = configured(steps__rule="adacomm", local__total_steps=40)
    nobody = {"train_loss": None}
    assert decide_all(config, [*losses(2.5), nobody, *losses(2.5), nobody]) == [16, 8, 4, 4]  # type: ignore[list-item]


def test_quadratic_rule_in_a_run() -> None:
    config = configured(
        steps__rule="qsr", steps__max=50, local__steps=4, schedule__name="step",
        schedule__step_rounds=1, schedule__gamma=0.5,
    )  # fmt: skip
    assert decide_all(config, losses(*[1.0] * 4)) == [4, 16, 50, 50]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("up", [4] * 6 + [8] * 3 + [16]), ("down", [16, 16, 8, 8, 4, 4, 4, 4])],
)
def test_schedules_over_the_budget(direction: str, expected: list[int]) -> None:
    config = configured(
        steps__rule="doubling", local__total_steps=64, steps__direction=direction, steps__max=16
    )
    assert decide_all(config, losses(*[1.0] * 30)) == expected


def test_quadratic_rule_with_a_rate_that_falls_by_steps() -> None:
    """With one cosine over 40 steps: lr is lr_0 (1 + cos(pi t / 40)) / 2; its warm-up does not count."""
    config = configured(
        steps__rule="qsr", steps__min=1, steps__max=30, local__steps=4, schedule__name="cosine-steps",
        local__total_steps=40, schedule__warmup_steps=4,
    )  # fmt: skip
    expected, done = [], 0
    while done < 40:
        rate = 0.1 * (1 + math.cos(math.pi * done / 40)) / 2
        expected.append(min(max(4, int((0.2 / rate) ** 2)), 30, 40 - done))
        done += expected[-1]
    assert decide_all(config, losses(*[1.0] * 40)) == expected
    assert len(set(expected)) > 2


def test_plateau() -> None:
    config = configured(steps__rule="plateau", dataset__validation_fraction=0.1)
    rows = losses(1.0, 0.9, 0.8, 0.9, 1.0, 1.0, name="validation_loss")
    assert decide_all(config, rows) == [16, 16, 16, 32, 32, 16]


def test_drift() -> None:
    """Half the steps after rounds whose mean drift is above the threshold; a round without one counts not."""
    config = configured(steps__rule="drift", steps__threshold=2.5)
    assert decide_all(config, losses(2.5, 2.6, 1.0, 4.0, 4.0, name="drift")) == [16, 16, 8, 8, 4]
    config = configured(steps__rule="drift", steps__interval=2, steps__min=1)
    rows = [*losses(1.0, 2.9, 3.0, 1.1, name="drift"), {"train_loss": 1.0}, *losses(2.1, 1.0, name="drift")]
    assert decide_all(config, rows) == [16, 16, 16, 16, 8, 8, 4]


def test_the_total_ends_the_run() -> None:
    config = configured(steps__rule="linear", steps__min=16, local__total_steps=40, steps__max=16)
    assert decide_all(config, losses(*[1.0] * 9)) == [16, 16, 8]


def test_scaled_rounds_keep_the_rule_and_scale_its_budget() -> None:
    values = configured(steps__rule="doubling", local__total_steps=640, rounds=100).flat()
    assert scale_rounds(values, 0.1) == {"rounds": 10, "local.total-steps": 64}


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"local__epochs": 1, "local__steps": 0, "steps__rule": "qsr"}, "needs local.steps"),
        ({"steps__min": 65}, "must not be above"),
    ],
)
def test_bad_combinations(overrides: dict[str, Value], match: str) -> None:
    with pytest.raises(UserError, match=match):
        configured(**overrides)


def test_clients_make_as_many_steps_and_resume_is_exact(run_small: Runner) -> None:
    values: dict[str, Value] = {
        "model__name": "linear", "steps__rule": "adacomm", "steps__min": 1, "local__total_steps": 20,
        "local__steps": 6, "local__epochs": 0, "schedule__name": "constant",
    }  # fmt: skip
    whole = run_small("whole", rounds=20, **values)
    rows, clients = (pd.read_csv(whole / f"{name}.csv") for name in ("metrics", "clients"))
    steps = rows["steps"].loc[1:]
    assert steps.iloc[0] == 6
    assert steps.nunique() > 1
    assert steps.sum() == 20
    assert clients.groupby("round")["steps"].unique().map(list).tolist() == [[step] for step in steps]
    run_small("parts", rounds=3, **values)
    parts = run_small("parts", rounds=20, run__resume=True, **values)
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


class Geometric(StepRule):
    """As many steps as ProxSkip's coin makes between two exchanges (arXiv:2202.09357)."""

    probability: float = 0.25

    def steps(self, progress: Progress) -> int:
        return int(progress.generator.geometric(self.probability))


def test_a_rule_may_draw() -> None:
    """A round's number depends on the seed and the round alone, whenever it is asked for."""
    name = "tests.server.test_local_steps:Geometric"
    keys: dict[str, Value] = {"steps__rule": name, "steps__min": 1, "steps__max": 10**6}
    first, again, other = (LocalSteps(configured(seed=seed, **keys)) for seed in (0, 0, 1))
    drawn = [first.decide(number) for number in range(1, 2001)]
    assert [again.decide(number) for number in range(50, 0, -1)] == drawn[49::-1]
    assert [other.decide(number) for number in range(1, 51)] != drawn[:50]
    assert sum(filter(None, drawn)) / 2000 == pytest.approx(4, rel=0.1)
