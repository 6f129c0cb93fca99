"""What every method promises, checked for each one that is registered."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from flwr.app import Message

from clients.app import app
from clients.base import Client
from clients.local.training import train_locally
from clients.registry import available_methods
from common.budget import num_steps
from common.cohort import cohort_size
from common.errors import ClientFailureError
from common.sections import Value
from runtimes.replay import replay
from runtimes.run import make_grid
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from strategies._flower_names import available_flower_strategies
from tests.conftest import Runner, example_of, small_config
from tests.fake_gpu import fake_gpu
from tests.rows import untimed

METHODS = [*available_methods(), *available_flower_strategies()]
BUDGET: dict[str, Value] = {"local__epochs": 2}
PARAMETERS: dict[str, dict[str, Value]] = {
    "flwr:MultiKrum": {"method__num-nodes-to-select": 2},
    "flwr:QFedAvg": {"method__client-learning-rate": 0.1},
    "flwr:FedAvgM": {"method__server-momentum": 0.9},
}

pytestmark = pytest.mark.parametrize("method", METHODS)


Content = list[tuple[str, str, bytes]]


class Reference(NamedTuple):
    """A finished run, and for each exchange with clients whether what was sent has stayed as it was."""

    directory: Path
    unchanged: list[bool]


class Failure(NamedTuple):
    """A run with another seed that a client ended in round 2, and what was said."""

    directory: Path
    message: str


def model_hash(run_directory: Path) -> str:
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])


def metrics(run_directory: Path, name: str = "metrics") -> pd.DataFrame:
    return untimed(pd.read_csv(run_directory / f"{name}.csv"))


def read_config(run_directory: Path) -> dict[str, Any]:
    return dict(json.loads((run_directory / "summary.json").read_text())["config"])


def options(method: str) -> dict[str, Value]:
    # Clients evaluate, too: what they keep for themselves shows in their accuracies only.
    return {
        "method__name": method,
        "clients__evaluate_fraction": 0.5,
        "local__batch_size": 128,
        **BUDGET,
        "checkpoint__every": 1,
        **example_of(method),
        **PARAMETERS.get(method, {}),
    }


class WatchingGrid(SequentialGrid):
    """Notes what was sent, to see later whether anything has written to it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sent: list[tuple[list[Message], list[Content]]] = []

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        self._sent.append((messages, [content_bytes(message) for message in messages]))
        return super().exchange(messages)

    def unchanged(self) -> list[bool]:
        """Return for each exchange whether its messages are what they were."""
        return [[content_bytes(message) for message in messages] == before for messages, before in self._sent]


def content_bytes(message: Message) -> Content:
    # A copy: bytes that a stray in-place operation changes would change here too.
    return [
        (section, name, bytes(bytearray(array.data)))
        for section, record in message.content.array_records.items()
        for name, array in record.items()
    ]


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Reference]:
    """Return the run of a configuration; tests that want the same one share it."""
    finished: dict[str, Reference] = {}

    def run(**keys: Any) -> Reference:
        name = json.dumps(keys, sort_keys=True)
        if name not in finished:
            config = small_config(tmp_path_factory.mktemp("reference") / "run", rounds=2, **keys)
            grid = WatchingGrid(app, config.clients.count, config.flat())
            finished[name] = Reference(run_experiment(config, grid, PlainLines()), grid.unchanged())
        return finished[name]

    return run


@pytest.fixture
def reference(method: str, run_once: Callable[..., Reference]) -> Reference:
    """Return the run of two rounds that several tests compare others with; each method has one."""
    return run_once(**options(method))


def test_defaults_do_something(method: str, reference: Reference, run_once: Callable[..., Reference]) -> None:
    """With its defaults a method ends with another model than FedAvg, or clients have models of their own."""
    if method == "fedavg":
        return
    other = reference.directory
    model = {key: value for key, value in read_config(other).items() if key.startswith("model.")}
    model["model.sizes"] = ""  # FedAvg's clients all train the whole model
    model |= {"model.exits": ""} if "model.exits" in model else {}
    same_model = {key.replace(".", "__").replace("-", "_"): value for key, value in model.items()}
    average = run_once(**{**options("fedavg"), **same_model}).directory
    assert model_hash(other) != model_hash(average) or "personal_accuracy" in metrics(other)


class Killed(BaseException):
    """Stands for a process that dies."""


def fail_in_round_2(client: Client, *arguments: Any, **local: Any) -> tuple[int, float]:
    """Stand in for ``train_locally``."""
    if client.server_round == 2:
        raise ArithmeticError("planted")
    return train_locally(client, *arguments, **local)


@pytest.fixture(scope="module")
def fail_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Failure]:
    """Return the failed run of a method; tests share it."""
    failures: dict[str, Failure] = {}

    def run(method: str) -> Failure:
        if method not in failures:
            directory = tmp_path_factory.mktemp("failure") / "run"
            config = small_config(directory, seed=6, rounds=6, **options(method))
            grid = SequentialGrid(app, config.clients.count, config.flat())
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("clients.base.train_locally", fail_in_round_2)
                with pytest.raises(ClientFailureError) as caught:
                    run_experiment(config, grid, PlainLines())
            failures[method] = Failure(directory, str(caught.value))
        return failures[method]

    return run


@pytest.fixture
def failure(method: str, fail_once: Callable[[str], Failure]) -> Failure:
    """Return the run that a client ends; each method has one."""
    return fail_once(method)


def test_another_seed_has_other_bits(method: str, reference: Reference, failure: Failure) -> None:
    loss_of_round_1 = [
        metrics(run.directory).set_index("round")["train_loss"][1] for run in (reference, failure)
    ]
    assert pd.notna(loss_of_round_1).all()
    assert loss_of_round_1[0] != loss_of_round_1[1]


def test_a_run_that_is_extended_and_dies_in_a_round_ends_as_an_undisturbed_one(
    method: str, reference: Reference, run_small: Runner, tmp_path: Path
) -> None:
    """Two runs of one seed, to begin with, one in threads: they have the same bits."""

    class DyingGrid(SequentialGrid):
        """Dies in round 4, after one of its clients has trained: past the checkpoint of round 3."""

        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for index, reply in enumerate(super().exchange(messages)):
                if "arrays" in messages[0].content.array_records:
                    server_round = messages[0].content.config_records["config"]["server-round"]
                    if server_round == 4 and index == min(1, len(messages) - 1):
                        raise Killed
                yield reply

    whole = tmp_path / "whole"
    threads = small_config(whole, runtime__name="threads", runtime__workers=2, rounds=4, **options(method))
    with make_grid(threads) as grid:
        run_experiment(threads, grid, PlainLines())
    first = metrics(reference.directory)
    pd.testing.assert_frame_equal(first, metrics(whole).iloc[: len(first)][first.columns])
    shutil.copytree(reference.directory, tmp_path / "parts")
    with pytest.raises(Killed):
        run_small("parts", DyingGrid, rounds=4, run__resume=True, **options(method))
    parts = run_small("parts", rounds=4, run__resume=True, **options(method))
    assert model_hash(parts) == model_hash(whole)
    for name in ("metrics", "clients", "evaluations"):
        pd.testing.assert_frame_equal(metrics(parts, name), metrics(whole, name))


def assert_budget(run_directory: Path, method: str, keys: dict[str, Value]) -> None:
    """Compare what clients of a run of two rounds have done with the configured budget."""
    config = small_config(**keys)
    sizes = pd.read_csv(run_directory / "label_distribution.csv").set_index("client_id")["num_examples"]
    clients = pd.read_csv(run_directory / "clients.csv")
    assert len(clients) == 2 * (
        1 if method == "fedasync" else cohort_size(config.clients.count, config.clients.fraction)
    )
    for row in clients.itertuples():
        assert row.num_examples == sizes[row.client_id]
        assert row.steps == num_steps(config.local, row.num_examples)
    rows = pd.read_csv(run_directory / "metrics.csv").set_index("round")
    assert rows["local_steps"].loc[1:].tolist() == clients.groupby("round")["steps"].sum().tolist()
    assert rows["num_examples"].loc[1:].tolist() == clients.groupby("round")["num_examples"].sum().tolist()


def test_budget_of_epochs_is_exact(method: str, reference: Reference) -> None:
    assert options(method).items() >= BUDGET.items()
    assert_budget(reference.directory, method, options(method))


def test_budget_of_steps_is_exact(method: str, run_small: Runner) -> None:
    keys = {key: value for key, value in options(method).items() if key not in BUDGET}
    keys |= {"local__steps": 3, "clients__evaluate_fraction": 0.0, "checkpoint__every": 2, "rounds": 2}
    assert_budget(run_small(**keys), method, keys)


def test_a_client_that_raises_ends_the_run_loudly(
    method: str, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = failure.message
    client_id = int(message.split()[1])
    assert message.startswith(f"client {client_id} failed in round 2")
    assert "Traceback" in message
    assert "ArithmeticError: planted" in message
    job = Path(message.rsplit("runtimes.replay ", 1)[1])
    monkeypatch.setattr("clients.base.train_locally", fail_in_round_2)
    with pytest.raises(ArithmeticError, match="planted"):
        replay(job)
    monkeypatch.undo()
    assert replay(job) == 0
    assert not (failure.directory / "summary.json").exists()


def test_received_payload_is_never_written_to(method: str, reference: Reference) -> None:
    assert len(reference.unchanged) >= 2 * 2 + 1
    assert all(reference.unchanged)


def test_on_a_gpu_everything_is_where_it_has_to_be(
    method: str, reference: Reference, run_small: Runner
) -> None:
    with fake_gpu():
        found = run_small(
            device="cuda", runtime__stack=1, **{**options(method), "rounds": 2, "checkpoint__every": 2}
        )
    assert model_hash(found) == model_hash(reference.directory)


@pytest.fixture(scope="module")
def ray_actors() -> Iterator[list[Any]]:
    """Start Ray and two workers once for all methods."""
    import ray

    from runtimes.ray.actors import make_actors
    from runtimes.ray.connection import start_ray

    config = small_config(runtime__workers=2, resources__cpus_per_client=0.5)
    start_ray(config)
    yield make_actors(config)
    ray.shutdown()


@pytest.mark.slow
def test_ray_workers_give_the_same_bits(
    method: str, ray_actors: list[Any], reference: Reference, tmp_path: Path
) -> None:
    from runtimes.ray.grid import RayGrid

    config = small_config(tmp_path / "ray", rounds=2, **options(method))
    with RayGrid(config, ray_actors) as grid:
        run_experiment(config, grid, PlainLines())
    sequential = reference.directory
    assert model_hash(tmp_path / "ray") == model_hash(sequential)
    pd.testing.assert_frame_equal(metrics(tmp_path / "ray"), metrics(sequential))
