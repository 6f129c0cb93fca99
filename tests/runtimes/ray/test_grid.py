"""Ray workers that die: their jobs run again elsewhere, with the same bits, and not for ever."""

import contextlib
import os
import signal
import time
import tomllib
import uuid
from collections.abc import Iterator
from itertools import compress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Message

from common.errors import ClientFailureError, UserError
from common.plugins import use_folders
from common.sections import Value
from run_simulation import parse_arguments
from runtimes.launch import read_configuration
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.interrupt import stop_between_rounds
from server.records.progress import PlainLines
from tests.conftest import Runner, small_config
from tests.rows import untimed
from tests.system.commands import command, run_here, start, summary
from tests.system.test_extending import together
from tests.system.test_killed_process import wait_for_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OPTIONS: dict[str, Value] = {"runtime__workers": 2, "resources__cpus_per_client": 0.5}
# Clients with state: a job that runs again begins with the state of before.
METHOD: dict[str, Value] = {"method__name": "scaffold"}


@pytest.fixture(scope="module")
def actors() -> Iterator[list[Any]]:
    import ray

    from runtimes.ray.actors import make_actors
    from runtimes.ray.connection import start_ray

    config = small_config(**OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 2, "GPU": 1}')  # one that Ray takes to be there
        start_ray(config)
    yield make_actors(config)
    ray.shutdown()


@pytest.mark.parametrize(
    ("handler", "ending"), [(signal.default_int_handler, KeyboardInterrupt), (signal.SIG_DFL, SystemExit)]
)
def test_sigterm_while_ray_starts_stops_as_it_does_elsewhere(
    monkeypatch: pytest.MonkeyPatch, handler: Any, ending: type[BaseException]
) -> None:
    """Ray's own handler, which is in force from the beginning of its start, exits with 15 and no line."""
    import ray
    import ray._private.node

    from runtimes.ray.connection import start_ray

    assert not ray.is_initialized()  # the other tests start it, so that this one has to come first
    monkeypatch.setattr(ray._private.node, "Node", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(ending):
            start_ray(small_config(runtime__name="ray"))
        assert signal.getsignal(signal.SIGTERM) == handler
    finally:
        signal.signal(signal.SIGTERM, before)


def run_and_kill(path: Path, actors: list[Any], victims: dict[int, int], **overrides: Value) -> Path:
    """Run; of the training jobs of each client in `victims` the workers of the first n are killed."""
    import ray

    from runtimes.ray.grid import RayGrid

    class DeadlyGrid(RayGrid):
        def _submit(self, actor: Any, job: Any, contents: list[Any]) -> Any:
            client_id = self.client_id(job.nodes[0])
            is_training = job.messages[0].metadata.message_type == "train"
            if not is_training or victims.get(client_id, 0) == 0:
                return super()._submit(actor, job, contents)
            victims[client_id] -= 1
            pid = ray.get(actor.ping.remote())
            references = super()._submit(actor, job, contents)
            os.kill(pid, signal.SIGKILL)
            return references

    config = small_config(path, **OPTIONS, **METHOD, **overrides)
    with DeadlyGrid(config, actors) as grid:
        run_experiment(config, grid, PlainLines())
    return path


def test_a_killed_worker_changes_no_bit(
    actors: list[Any], run_small: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list(actors)
    victims = {4: 1}
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
    import runtimes.ray.grid as ours

    reasons: list[str] = []
    failures = ours._failures
    monkeypatch.setattr(ours, "MAX_DEATHS", 2)
    monkeypatch.setattr(
        ours, "_failures", lambda job, reason: reasons.append(reason) or failures(job, reason)
    )
    options: dict[str, Value] = {"clients__fraction": 1.0, "rounds": 2}
    path = run_and_kill(
        tmp_path / "drop", actors, {2: 2}, **options, failures__policy="drop", failures__max_fraction=0.2
    )
    rows = pd.read_csv(path / "metrics.csv").set_index("round")
    assert rows.loc[1, ["clients", "failures"]].tolist() == [5, 1]
    assert rows.loc[2, ["clients", "failures"]].tolist() == [6, 0]
    (reason,) = reasons
    assert reason.startswith("2 Ray workers died one after the other on this job: ")


def test_it_ends_a_run_that_tolerates_none(run_small: Runner) -> None:
    from runtimes.ray.grid import _failures, _Job

    class DeadlyGrid(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            lost = [
                message.metadata.message_type == "train" and self.client_id(message.metadata.dst_node_id) == 4
                for message in messages
            ]
            yield from _failures(_Job(list(compress(messages, lost))), "2 Ray workers died")
            yield from super().exchange(
                [message for message, is_lost in zip(messages, lost, strict=True) if not is_lost]
            )

    with pytest.raises(ClientFailureError, match="client 4 failed in round 1:\n2 Ray workers died"):
        run_small("raise", DeadlyGrid, clients__fraction=1.0, rounds=1)


def test_workers_that_died_between_rounds_cost_nothing(
    actors: list[Any], run_small: Runner, tmp_path: Path
) -> None:
    import ray

    for pid in ray.get([actor.ping.remote() for actor in actors]):
        os.kill(pid, signal.SIGKILL)
    path = run_and_kill(tmp_path / "ray", actors, {}, rounds=1)
    expected = run_small("sequential", **METHOD, rounds=1)
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]


def test_code_from_outside_reaches_workers_that_run_already(
    actors: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtimes.ray.grid import RayGrid

    keys = together(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWERBED_PLUGINS", "mine")
    try:
        expected = run_here(*keys, "--run-dir", "sequential")
        config = read_configuration(parse_arguments([*keys, "--run-dir", str(tmp_path / "ray")]))
        with RayGrid(config, actors) as grid:
            run_experiment(config, grid, PlainLines())
    finally:
        use_folders("")
    assert summary(tmp_path / "ray")["model_sha256"] == expected["model_sha256"]


def test_sigterm_ends_a_run_between_rounds(actors: list[Any]) -> None:
    """Ray's own handler would abort the process; ``start_ray`` has run with this one in force."""
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with stop_between_rounds(lambda text: None) as request:
        signal.raise_signal(signal.SIGTERM)
        assert request.requested


def processes_with(mark: str) -> list[str]:
    """Return the commands of the processes whose environment holds a text: what a program has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_signals_leave_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches all that the terminal has started; a second signal ends the run with jobs under way."""
    mark = f"this-run-{uuid.uuid4()}"
    monkeypatch.setenv("FLOWERBED_MARK", mark)
    options: dict[str, Value] = {"rounds": 10_000, "clients__fraction": 1.0, "runtime__workers": 1}
    arguments = command(tmp_path / "run", "--runtime", "ray", **options)
    process = start(arguments, own_session=True)
    wait_for_rows(tmp_path / "run" / "metrics.csv", 3)
    assert any("raylet" in text for text in processes_with(mark))
    os.killpg(process.pid, signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    deadline = time.monotonic() + 60
    while left := processes_with(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_workers_that_cannot_start_are_refused(actors: list[Any]) -> None:
    from runtimes.ray.actors import make_actors

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

    from runtimes.ray.grid import RayGrid
    from server.measurer import Candidate, Measurer, Measures

    shares: list[list[bool]] = []

    class WatchedGrid(RayGrid):
        def measure(self, candidate: Candidate, num_batches: int) -> list[Measures | None]:
            if len(shares) == 1:  # one of them is gone: everything is measured here, and it is replaced
                os.kill(ray.get(self._actors.all[0].ping.remote()), signal.SIGKILL)
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


def test_stacks_have_the_bits_of_one_process_whatever_the_workers(
    actors: list[Any], run_small: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny: dict[str, Value] = {"model__name": "mlp", "clients__fraction": 1.0, "rounds": 2}
    victims = {0: 1}  # the stack of clients 0 to 3 is trained again as it was
    path = run_and_kill(tmp_path / "two", actors, victims, runtime__stack=4, **tiny)
    assert "a Ray worker died at a job of client 0, 1, 2, 3; another" in capfd.readouterr().err
    alone = run_and_kill(tmp_path / "one", actors[:1], {}, runtime__stack=4, **tiny)
    expected = run_small("sequential", runtime__stack=4, **METHOD, **tiny)
    assert len({summary(run)["model_sha256"] for run in (path, alone, expected)}) == 1

    chosen = run_and_kill(tmp_path / "chosen", actors, {}, runtime__stack=0, **tiny)
    size = int(tomllib.loads((chosen / "config.toml").read_text())["runtime"]["stack"])
    assert f"runtime.stack = {size}: local steps per second by number of clients" in capfd.readouterr().out
    given = run_small("given", runtime__stack=size, **METHOD, **tiny)  # measuring has left no trace
    assert summary(chosen)["model_sha256"] == summary(given)["model_sha256"]


def test_a_part_of_a_gpu_is_measured_at_the_first_job(
    actors: list[Any],
    run_small: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from runtimes.ray.actors import Actors
    from runtimes.ray.grid import RayGrid

    counts: list[int] = []

    def peak(actors: Actors) -> tuple[int, int]:
        counts.append(len(actors.all))
        return 6 * 10**9, 16 * 10**9

    class MeasuredGrid(RayGrid):
        def _submit(self, actor: Any, job: Any, contents: list[Any]) -> Any:
            counts.append(self._num_workers)
            return super()._submit(actor, job, contents)

    monkeypatch.setattr(Actors, "_peak", peak)
    options: dict[str, Value] = {"rounds": 1, "resources__gpus_per_client": "auto"}
    config = small_config(
        tmp_path / "ray", **METHOD, **options, resources__cpus_per_client=0.25, runtime__workers=4
    )
    with MeasuredGrid(config) as grid:
        run_experiment(config, grid, PlainLines())
    assert sorted(counts) == counts
    assert {*counts} == {1, 2}
    shown = capfd.readouterr().err
    assert "Ray workers: 1, since 1 fit (2 CPUs / 0.25 = 8, 1 GPUs / 1 = 1)" in shown
    assert "resources.gpus-per-client = 0.5: a client took 6.00 GB at its peak" in shown
    assert "Ray workers: 2, since 2 fit (2 CPUs / 0.25 = 8, 1 GPUs / 0.5 = 2)" in shown
    expected = run_small("sequential", **METHOD, rounds=1)
    assert summary(tmp_path / "ray")["model_sha256"] == summary(expected)["model_sha256"]


def test_a_head_of_our_own_keeps_no_record_of_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would grow by 8 kB a round; the setting has to be there before Ray starts its processes."""
    import ray

    from runtimes.ray.connection import start_ray

    found: dict[str, str] = {}
    monkeypatch.delenv("RAY_task_events_report_interval_ms", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: found.update(os.environ))
    assert start_ray(small_config(runtime__name="ray"))
    assert found["RAY_task_events_report_interval_ms"] == "0"
