"""Flower's robust strategies against one client that poisons its update."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clients.base import Client
from clients.local.training import train_locally
from common.errors import UserError
from tests.conftest import Runner

ROBUST: dict[str, dict[str, Any]] = {
    "flwr:Krum": {"method__num_malicious_nodes": 1},
    "flwr:MultiKrum": {"method__num_malicious_nodes": 1, "method__num_nodes_to_select": 4},
    "flwr:Bulyan": {"method__num_malicious_nodes": 1},
    "flwr:FedTrimmedAvg": {"method__beta": 0.2},
    "flwr:FedMedian": {},
}
RUN: dict[str, Any] = {
    "model__name": "mlp",
    "partition__name": "iid",
    "augmentation__name": "none",
    "clients__count": 7,  # Bulyan takes 4 f + 3
    "clients__fraction": 1.0,
    "schedule__name": "constant",
    "rounds": 4,
}


def flip_and_scale(client: Client, *budget: Any, **local: Any) -> tuple[int, float]:
    """Train honestly, but for client 3 turn the update round and make it ten times as long."""
    result = train_locally(client, *budget, **local)
    if client.client_id == 3:
        with torch.no_grad():
            for name, value in client.params.items():
                start = client.global_params[name]
                value.copy_(start - 10 * (value - start))
    return result


def model_of(run_directory: Path) -> torch.Tensor:
    return torch.cat([value.flatten() for value in load_file(run_directory / "model.safetensors").values()])


def accuracy_of(run_directory: Path) -> float:
    return float(json.loads((run_directory / "summary.json").read_text())["final.test_accuracy"])


@pytest.fixture
def poisoned(run_small: Runner, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def run(name: str, **options: Any) -> Path:
        with monkeypatch.context() as patch:
            patch.setattr("clients.base.train_locally", flip_and_scale)
            return run_small(name, **RUN, **options)

    return run


@pytest.mark.parametrize("method", ROBUST)
def test_the_model_stays_near_the_honest_one(
    method: str, run_small: Runner, poisoned: Callable[..., Path]
) -> None:
    honest_run = run_small("honest", **RUN)
    honest = model_of(honest_run)
    initial = model_of(run_small("initial", **{**RUN, "rounds": 1, "optimizer__learning_rate": 1e-12}))
    way = (honest - initial).norm()

    robust_run = poisoned("robust", method__name=method, **ROBUST[method])
    average_run = poisoned("average", method__name="fedavg")

    assert (model_of(robust_run) - honest).norm() < 0.6 * way
    assert accuracy_of(robust_run) > accuracy_of(honest_run) - 0.05
    assert (model_of(average_run) - honest).norm() > 1.2 * way
    assert accuracy_of(average_run) < accuracy_of(honest_run) - 0.3


def test_a_strategy_that_aggregates_nothing_ends_the_run(run_small: Runner) -> None:
    late = {"stragglers__fraction": 0.3, "stragglers__policy": "drop"}
    with pytest.raises(UserError, match=r"'flwr:Bulyan' made no model of the [1-6] replies of round 1"):
        run_small(**RUN, **late, method__name="flwr:Bulyan", method__num_malicious_nodes=1)


def test_with_tolerated_failures_the_model_stays(
    run_small: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(client: Client) -> tuple[int, float]:
        if client.client_id == 3 and client.server_round == 2:
            raise ArithmeticError("planted")
        return train_locally(client)

    monkeypatch.setattr("clients.base.train_locally", fail)
    run_small(**RUN, method__name="flwr:Bulyan", method__num_malicious_nodes=1, failures__policy="drop")
    assert "made no model of the 6 replies of round 2: the model stays as it was" in capsys.readouterr().out
