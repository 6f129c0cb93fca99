"""The promise: same configuration, same seed, same bits, from every carrier and every time."""

import sys
from pathlib import Path

import pytest

from common.sections import Value
from tests.conftest import SMALL_RUN, Runner
from tests.system.commands import run, summary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def federation(run_directory: Path, *arguments: str) -> list[str]:
    settings = {**SMALL_RUN, "clients.count": 2, "clients.fraction": 1.0, "rounds": 2}
    assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [
        sys.executable,
        "-m",
        "runtimes.federation",
        "--run-dir",
        str(run_directory),
        *assignments,
        *arguments,
    ]


@pytest.mark.parametrize("carrier", [("--simulation",), ()], ids=["flwr-run-simulation", "grpc-processes"])
def test_flower_runtimes_give_the_bits_of_the_sequential_one(
    carrier: tuple[str, ...], run_small: Runner, tmp_path: Path
) -> None:
    # FedRep averages one part of the model and keeps the other with the clients.
    options = {"method__name": "fedrep", "clients__count": 2, "clients__fraction": 1.0, "rounds": 2}
    options |= {"evaluate__every": 2, "checkpoint__every": 2}  # Flower starts a process for each message
    expected = summary(run_small("sequential", **options))
    path = tmp_path / "run"
    rarely = ("--set", "evaluate.every=2", "--set", "checkpoint.every=2")
    code, output = run(federation(path, *carrier, "--set", "method.name=fedrep", *rarely))
    assert code == 0, output
    same = ["model_sha256", *(key for key in expected if key.startswith("final."))]
    assert {key: summary(path)[key] for key in same} == {key: expected[key] for key in same}


def test_two_sizes_give_the_same_bits_over_grpc(run_small: Runner, tmp_path: Path) -> None:
    # Flower starts a process for each message: one round, and no state to ask for.
    options: dict[str, Value] = {
        "method.name": "heteroavg", "method.inco": True, "clients.count": 2, "clients.fraction": 1.0,
        "rounds": 1, "local.batch-size": 128,
        "model.name": "stage-resnet", "model.width": 2, "model.sizes": "1,5",
    }  # fmt: skip
    keys = {key.replace(".", "__").replace("-", "_"): value for key, value in options.items()}
    expected = summary(run_small("sequential", **keys))
    assignments = [part for key, value in options.items() for part in ("--set", f"{key}={_toml(value)}")]
    code, output = run(federation(tmp_path / "run", *assignments))
    assert code == 0, output
    same = ["model_sha256", *(key for key in expected if key.startswith("final."))]
    assert len(same) > 2 * 2
    assert {key: summary(tmp_path / "run")[key] for key in same} == {key: expected[key] for key in same}


def _toml(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def test_a_failing_client_behind_grpc_is_as_loud(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    code, output = run(
        federation(tmp_path / "run", "--set", "dataset.name=cifar10", "--data-root", str(tmp_path / "data"))
    )
    assert code == 1
    assert "cifar-10-batches-py is missing" in output
    assert not (tmp_path / "run" / "summary.json").exists()
