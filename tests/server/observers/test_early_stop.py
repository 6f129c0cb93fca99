import json
from types import SimpleNamespace

import pytest

from common.sections import Value
from server.observers import Round
from server.observers._early_stop import EarlyStop
from tests.common.configs import make_config


def early_stop(**keys: Value) -> EarlyStop:
    config = make_config({f"stop.{key}": value for key, value in keys.items()})
    return EarlyStop(SimpleNamespace(config=config))  # type: ignore[arg-type]


def reason(stop: EarlyStop, row: dict[str, float]) -> str:
    return stop.stop_reason(Round(1, row=row))


def reasons(stop: EarlyStop, metric: str, values: list[float]) -> list[bool]:
    return [bool(reason(stop, {metric: value})) for value in values]


def test_it_never_stops_by_default() -> None:
    assert reasons(early_stop(), "test_accuracy", [0.9] * 50) == [False] * 50


def test_patience_counts_evaluations_without_improvement() -> None:
    stop = early_stop(patience=2)
    assert reasons(stop, "test_accuracy", [0.5, 0.4, 0.6, 0.6, 0.5]) == [False, False, False, False, True]
    assert stop.best == 0.6


def test_a_loss_improves_downwards() -> None:
    stop = early_stop(metric="test_loss", patience=2)
    assert reasons(stop, "test_loss", [1.0, 0.5, 0.6, 0.4, 0.4, 0.7]) == [False] * 5 + [True]
    assert stop.best == 0.4


def test_the_target_is_reached_upwards_or_downwards() -> None:
    assert reasons(early_stop(target=0.8), "test_accuracy", [0.1, 0.79, 0.8]) == [False, False, True]
    stop = early_stop(metric="train_loss", target=0.3)
    assert reasons(stop, "train_loss", [0.9, 0.31, 0.3]) == [False, False, True]
    assert "train_loss reached 0.2000 (stop.target = 0.3)" in reason(stop, {"train_loss": 0.2})


def test_rows_without_the_metric_do_not_count() -> None:
    stop = early_stop(patience=2)
    assert reason(stop, {"test_accuracy": 0.5}) == ""
    for _ in range(10):
        assert reason(stop, {"train_loss": 9.0}) == ""
    assert reason(stop, {"test_accuracy": 0.5}) == ""
    assert "has not improved for 2 evaluations" in reason(stop, {"test_accuracy": 0.5})


@pytest.mark.parametrize("split", range(5))
def test_it_goes_on_where_a_checkpoint_left_it(split: int) -> None:
    values = [0.5, 0.4, 0.6, 0.6, 0.5]
    whole = early_stop(patience=2)
    expected = reasons(whole, "test_accuracy", values)
    first, second = early_stop(patience=2), early_stop(patience=2)
    result = reasons(first, "test_accuracy", values[:split])
    second.restore(json.loads(json.dumps(first.state())))
    assert result + reasons(second, "test_accuracy", values[split:]) == expected
