import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Message

from analysis.plots.phases import plot
from analysis.reading.run_directory import NoDataError
from runtimes.sequential import SequentialGrid
from server import stopwatch
from server.cohorts import Cohorts
from server.evaluation import CentralEvaluation
from server.observers._rows import Rows
from server.records import run_directory
from server.records.run_directory import METRICS_COLUMNS
from server.stopwatch import COLUMNS, Stopwatch
from strategies.fedavg import FedAvg
from tests.conftest import Runner
from tests.system.commands import summary


class Clock:
    """Stands still, except where somebody moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stopwatch, "perf_counter", made)
    return made


def test_a_moment_counts_for_the_innermost_phase(clock: Clock) -> None:
    watch = Stopwatch()

    def made() -> Iterator[int]:
        for number in range(3):
            clock.now += 10
            with watch.phase("send"):
                clock.now += 100
            yield number

    clock.now += 7  # outside of all phases
    with watch.phase("reduce"):
        clock.now += 1
        for _ in watch.during("train", made()):
            clock.now += 2
        with contextlib.suppress(KeyError), watch.phase("evaluate"):
            clock.now += 3
            raise KeyError
    with watch.phase("write"):
        clock.now += 4
        first = watch.take()
        clock.now += 5
    clock.now += 7
    assert list(first.values()) == [0, 300, 30, 7, 3, 4]
    assert watch.take() == dict(zip(COLUMNS, [0, 0, 0, 0, 0, 5], strict=True))


def test_the_columns_of_a_run_say_where_the_time_went(
    clock: Clock, run_small: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(SequentialGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            clock.now += 2
            return super().push_messages(messages)

        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for reply in super().exchange(messages):
                clock.now += 10
                yield reply

    def slow_down(cls: type, method: str, seconds: float) -> None:
        original = getattr(cls, method)

        def slower(*arguments: Any, **keywords: Any) -> Any:
            clock.now += seconds
            return original(*arguments, **keywords)

        monkeypatch.setattr(cls, method, slower)

    slow_down(Cohorts, "select", 13)
    slow_down(FedAvg, "configure_train", 1)
    slow_down(FedAvg, "accumulate", 3)
    slow_down(CentralEvaluation, "__call__", 5)
    slow_down(Rows, "on_train", 7)
    slow_down(Rows, "on_round", 11)
    options = {"clients__evaluate_fraction": 1.0, "evaluate__every": 2, "model__name": "linear"}
    rows = pd.read_csv(run_small("run", Slow, rounds=2, **options) / "metrics.csv")
    by_round = rows.set_index("round")[list(COLUMNS)]
    assert by_round.loc[0].tolist() == [0, 0, 0, 0, 5, 0]
    assert by_round.loc[1].tolist() == [13, 1 + 2, 3 * 10, 3 * 3, 0, 7 + 11]
    assert by_round.loc[2].tolist() == [13, 1 + 2, 3 * 10, 3 * 3, 5 + 2 + 6 * 10, 7 + 11]


def test_a_run_of_before_the_columns_is_resumed_and_drawn(
    run_small: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = {"model__name": "linear", "local__epochs": 0, "local__steps": 2}
    whole = run_small("whole", rounds=3, **small)
    with monkeypatch.context() as then:
        then.setattr(Stopwatch, "take", lambda self: {})
        then.setattr(run_directory, "METRICS_COLUMNS", METRICS_COLUMNS[: -len(COLUMNS)])
        path = run_small("old", rounds=2, **small)
    with pytest.raises(NoDataError):
        plot(path)
    run_small("old", rounds=3, run__resume=True, **small)
    rows = pd.read_csv(path / "metrics.csv").set_index("round")[list(COLUMNS)]
    assert rows.loc[:2].isna().all(axis=None)
    assert (rows.loc[3:, "seconds_train"] > 0).all()
    assert rows.loc[3:].notna().all(axis=None)
    assert plot(path).stat().st_size > 5000
    assert summary(path)["model_sha256"] == summary(whole)["model_sha256"]
