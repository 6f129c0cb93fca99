"""Ray workers that die: their jobs run again elsewhere, with the same bits, and not for ever."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Message

from common.errors import ClientFailureError, UserError
from common.sections import Value
from server.experiment import run_experiment
from server.interrupt import stop_between_rounds
from server.records.progress import PlainLines
from tests.conftest import Runner, small_config
from tests.rows import untimed
from tests.system.commands import summary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OPTIONS: dict[str, Value] = {"runtime__workers": 2, "resources__cpus_per_client": 0.5}
# Clients with state: a job that runs again begins with the state of before.
METHOD: dict[str, Value] = {"method__name": "scaffold"}


@pytest.fixture(scope="module")
def actors() -> Iterator[list[Any]]:
    import ray

    from runtimes.ray import make_actors, start_ray

    config = small_config(**OPTIONS)
    start_ray(config)
    yield make_actors(config)
    ray.shutdown()


def run_and_kill(path: Path, actors: list[Any], victims: dict[int, int], **overrides: Value) -> Path:
    """Run; of the training jobs of each client in `victims` the workers of the first so many are killed."""
    import ray

    from runtimes.ray import RayGrid

    class DeadlyGrid(RayGrid):
        def _submit(self, actor: Any, message: Message, content: Any) -> Any:
            client_id = self.client_id(message.metadata.dst_node_id)
            if message.metadata.message_type != "train" or victims.get(client_id, 0) == 0:
                return super()._submit(actor, message, content)
            victims[client_id] -= 1
            pid = ray.get(actor.ping.remote())
            job = super()._submit(actor, message, content)
            os.kill(pid, signal.SIGKILL)
            return job

    config = small_config(path, **OPTIONS, **METHOD, **overrides)
    with DeadlyGrid(config, actors) as grid:
        run_experiment(config, grid, PlainLines())
    return path


def test_a_killed_worker_changes_no_bit(
    actors: list[Any], run_small: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list(actors)
    victims = {1: 1, 4: 1}
    options: dict[str, Value] = {"clients__fraction": 1.0, "rounds": 2, "failures__policy": "drop"}
    path = run_and_kill(tmp_path / "ray", actors, victims, **options)
    expected = run_small("sequential", **METHOD, **options)
    assert sum(victims.values()) == 0
    assert len(actors) == 2
    assert set(actors) != set(before)
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]
    ours, theirs = (untimed(pd.read_csv(run / "metrics.csv")) for run in (path, expected))
    pd.testing.assert_frame_equal(ours, theirs)
    assert ours["failures"].fillna(0).sum() == 0
    assert "a Ray worker died at a job of client" in capfd.readouterr().err


def test_a_job_that_kills_every_worker_is_one_failure(
    actors: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtimes.ray.MOST_DEATHS", 2)
    options: dict[str, Value] = {"clients__fraction": 1.0, "rounds": 2}
    path = run_and_kill(
        tmp_path / "drop", actors, {2: 2}, **options, failures__policy="drop", failures__max_fraction=0.2
    )
    rows = pd.read_csv(path / "metrics.csv").set_index("round")
    assert rows.loc[1, ["clients", "failures"]].tolist() == [5, 1]
    assert rows.loc[2, ["clients", "failures"]].tolist() == [6, 0]

    with pytest.raises(ClientFailureError, match="client 4 failed in round 1:\n2 Ray workers died"):
        run_and_kill(tmp_path / "raise", actors, {4: 2}, **options)


def test_workers_that_died_between_rounds_cost_nothing(
    actors: list[Any], run_small: Runner, tmp_path: Path
) -> None:
    import ray

    for pid in ray.get([actor.ping.remote() for actor in actors]):
        os.kill(pid, signal.SIGKILL)
    path = run_and_kill(tmp_path / "ray", actors, {}, rounds=1)
    expected = run_small("sequential", **METHOD, rounds=1)
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]


def test_sigterm_ends_a_run_between_rounds(actors: list[Any]) -> None:
    """Ray's own handler would abort the process; ``start_ray`` has run with this one in force."""
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with stop_between_rounds(lambda text: None) as request:
        signal.raise_signal(signal.SIGTERM)
        assert request.requested


def test_workers_that_cannot_start_are_refused(actors: list[Any]) -> None:
    from runtimes.ray import make_actors

    config = small_config(**OPTIONS | {"resources__cpus_per_client": 1000})
    with pytest.raises(UserError, match="no Ray worker fits"):
        make_actors(config)
    config = small_config(**OPTIONS | {"runtime__workers": 100_000, "clients__count": 50_000})
    with pytest.raises(UserError, match=r"^runtime\.workers = 100000, but only \d+ fit: lower it"):
        make_actors(config)


def test_workers_share_the_test_batches(
    actors: list[Any], run_small: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from runtimes.ray import RayGrid
    from server.measurer import Candidate, Measurer, Measures

    shares: list[list[bool]] = []

    class WatchedGrid(RayGrid):
        def measure(self, candidate: Candidate, num_batches: int) -> list[Measures | None]:
            if len(shares) == 1:  # one of them is gone: everything is measured here, and it is replaced
                os.kill(ray.get(self._actors[0].ping.remote()), signal.SIGKILL)
            found = super().measure(candidate, num_batches)
            shares.append([share is not None for share in found])
            return found

    here: list[object] = []
    measured = Measurer.measure
    monkeypatch.setattr(
        Measurer, "measure", lambda self, *model: here.append(model) or measured(self, *model)
    )
    options: dict[str, Value] = {"evaluate__batch_size": 100, "dataset__validation_fraction": 0.1}
    config = small_config(tmp_path / "ray", **OPTIONS, **options)
    with WatchedGrid(config, actors) as grid:
        path = run_experiment(config, grid, PlainLines())
    assert shares == [[True, True], [False, True], [True, True], [True, True]]
    assert len(here) == 1
    expected = run_small("sequential", **options)
    ours, theirs = (untimed(pd.read_csv(run / "metrics.csv", dtype=str)) for run in (path, expected))
    pd.testing.assert_frame_equal(ours, theirs)
    assert len(here) == 5
