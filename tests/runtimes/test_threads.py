"""Threads of one process: the bits of one client after the other, and failures as loud."""

import math
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from torch import nn

from clients.base import Client
from common.errors import ClientFailureError
from common.sections import Value
from runtimes.run import make_grid
from runtimes.threads import ThreadsGrid
from server.experiment import run_experiment
from server.measurer import Candidate, Measurer, Measures, Share
from server.records.progress import PlainLines
from tests.conftest import SIZES, Runner, small_config
from tests.rows import untimed
from tests.system.commands import summary

ALL: dict[str, Value] = {"clients__fraction": 1.0, "rounds": 2}
Threads = Callable[..., Path]


@pytest.fixture
def run_threads(tmp_path: Path) -> Threads:
    def run(workers: int, **overrides: Value) -> Path:
        threads: dict[str, Value] = {"runtime__name": "threads", "runtime__workers": workers}
        config = small_config(tmp_path / "threads", **threads, **overrides)
        with make_grid(config) as grid:
            assert isinstance(grid, ThreadsGrid)
            return run_experiment(config, grid, PlainLines())

    return run


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the names of the threads that train, which is filled while they do."""
    found: set[str] = set()
    prepare = Client.prepare

    def noted(client: Client, *arguments: object) -> None:
        found.add(threading.current_thread().name)
        prepare(client, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Client, "prepare", noted)
    return found


CASES: dict[str, tuple[int, dict[str, Value]]] = {
    "augmentation and dropout": (3, {"local__batch_size": 16}),
    "state": (2, {"method__name": "scaffold"}),
    "a model of earlier rounds": (2, {"method__name": "moon", "clients__evaluate_fraction": 0.5}),
    "personal parts": (2, {"method__name": "fedrep", "clients__evaluate_fraction": 1.0}),
    "sizes": (2, {**SIZES, "method__name": "heteroavg"}),
    "stacks": (2, {"model__name": "mlp", "runtime__stack": 2}),
}  # fmt: skip


@pytest.mark.parametrize(("workers", "options"), CASES.values(), ids=CASES)
def test_threads_have_the_bits_of_one_after_the_other(
    workers: int, options: dict[str, Value], run_threads: Threads, run_small: Runner, names: set[str]
) -> None:
    options = {**ALL, **options}
    path = run_threads(workers, **options)
    assert names == {f"client_{number}" for number in range(workers)}
    check_same(path, run_small("sequential", **options))


def test_initial_weights_of_ones_own_are_drawn_one_after_the_other(
    run_threads: Threads, run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Value] = {"model__individual_init": True, "model__name": "linear", "rounds": 1}
    path = run_threads(2, **options)
    assert "although runtime.name is 'threads': model.individual-init" in capsys.readouterr().out
    check_same(path, run_small("sequential", **options))


def check_same(path: Path, expected: Path) -> None:
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]
    ours, theirs = (untimed(pd.read_csv(run / "metrics.csv", dtype=str)) for run in (path, expected))
    pd.testing.assert_frame_equal(ours, theirs)


def test_threads_share_the_test_batches(
    run_threads: Threads, run_small: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[tuple[str, Share]] = []
    measure = Measurer.measure_share

    def noted(measurer: Measurer, candidate: Candidate, share: Share) -> Measures | None:
        shares.append((threading.current_thread().name, share))
        return measure(measurer, candidate, share)

    monkeypatch.setattr(Measurer, "measure_share", noted)
    options = {**SIZES, "method__name": "heteroavg", "rounds": 1, "evaluate__batch_size": 100}
    path = run_threads(2, **options)
    assert all(name.startswith("client_") for name, _ in shares)
    assert len(shares) % 2 == 0
    assert {share for _, share in shares} == {Share(0, 2), Share(1, 2)}
    check_same(path, run_small("sequential", **options))


def test_a_failing_client_ends_the_run(run_threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(client: Client) -> None:
        if client.client_id == 4:
            raise ValueError("no gradient today")

    monkeypatch.setattr(Client, "begin_round", fail)
    before = threading.active_count()
    with pytest.raises(ClientFailureError, match=r"(?s)client 4 failed in round 1:.*no gradient today"):
        run_threads(2, **ALL)
    assert threading.active_count() == before


def with_dropout(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build a model that draws from torch's global generator."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(math.prod(input_shape), num_classes))


def test_code_from_outside_is_run_by_one_thread(
    run_threads: Threads, run_small: Runner, names: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Value] = {"rounds": 1, "model__name": "tests.runtimes.test_threads:with_dropout"}
    path = run_threads(2, **options)
    assert names == {threading.current_thread().name}
    shown = capsys.readouterr().out
    assert "clients train one after the other, although runtime.name is 'threads': code from outside" in shown
    expected = run_small("sequential", **options)
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]
