"""The promise: same configuration, same seed, same bits, from every carrier and every time."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from common.plugins import use_folders
from common.sections import Value
from runtimes import federation
from runtimes.federation_plan import Plan, read_plan
from runtimes.flower_environment import FederationError, FlowerProcesses
from tests.conftest import small_run
from tests.system.commands import run_here, summary
from tests.system.test_extending import together

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# Flower starts a process for each message: few rounds, and no state to ask for but at the end.
SHORT: dict[str, Value] = {
    "clients.count": 2, "clients.fraction": 1.0, "rounds": 2, "evaluate.every": 2, "checkpoint.every": 2,
}  # fmt: skip


class Nodes:
    """What ``python -m runtimes.federation`` starts for two clients, for one run after the other."""

    def __init__(self, processes: FlowerProcesses) -> None:
        self._processes = processes

    def start(self, folder: Path) -> None:
        federation._start_federation(self._processes, _plan(folder, *_assignments(SHORT)))

    def run(self, run_directory: Path, *arguments: str) -> str:
        """Carry a run to its end; return its log."""
        plan = _plan(run_directory, *arguments)
        plan.log_directory.mkdir(parents=True)
        submission = federation._submit(self._processes, plan)
        federation._follow(self._processes, submission)
        federation._check_completed(self._processes)
        return self.log()

    def log(self) -> str:
        return self._processes.log_path("run").read_text(errors="replace")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("federation")
    with FlowerProcesses(folder / "logs") as processes:
        nodes = Nodes(processes)
        nodes.start(folder)
        yield nodes


def _plan(run_directory: Path, *arguments: str) -> Plan:
    return read_plan(["--run-dir", str(run_directory), *arguments], "")


def _assignments(settings: Mapping[str, Value]) -> list[str]:
    values = {
        key: str(value).lower() if isinstance(value, bool) else value for key, value in settings.items()
    }
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.mark.parametrize(
    "options",
    [
        {"method.name": "fedrep"},  # averages one part of the model and keeps the other with the clients
        {
            "method.name": "heteroavg", "method.inco": True, "rounds": 1, "local.batch-size": 128,
            "model.name": "stage-resnet", "model.width": 2, "model.sizes": "1,5",
        },
    ],
    ids=["personal part", "two sizes"],
)  # fmt: skip
def test_grpc_gives_the_bits_of_the_sequential_runtime(
    options: dict[str, Value], nodes: Nodes, tmp_path: Path
) -> None:
    given = {**SHORT, **options}
    assignments = _assignments({**small_run(given), **given})
    expected = run_here(*assignments, "--run-dir", str(tmp_path / "sequential"))
    log = nodes.run(tmp_path / "run", *assignments)
    same = ["model_sha256", *(key for key in expected if key.startswith("final."))]
    assert len(same) > 2 * 2
    assert {key: summary(tmp_path / "run")[key] for key in same} == {key: expected[key] for key in same}, log


def test_code_from_outside_gives_the_same_bits(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*together(tmp_path), "--plugins", "mine"]
    monkeypatch.chdir(tmp_path)
    try:
        expected = run_here(*arguments, "--run-dir", "sequential")
        log = nodes.run(tmp_path / "grpc", *arguments)
    finally:
        use_folders("")
    assert summary(tmp_path / "grpc")["model_sha256"] == expected["model_sha256"], log


def test_a_failing_client_is_as_loud(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    arguments = ["--set", "dataset.name=cifar10", "--data-root", str(tmp_path / "data"), *_assignments(SHORT)]
    with pytest.raises(
        FederationError, match=r"the run is finished:failed: .*cifar-10-batches-py is missing"
    ):
        nodes.run(tmp_path / "run", *arguments)
    assert "cifar-10-batches-py is missing" in nodes.log()
    assert not (tmp_path / "run" / "summary.json").exists()
