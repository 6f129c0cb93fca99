"""Flower's strategies on a model with running statistics: a cut of the contract that all methods have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clients.app import app
from common.sections import Value
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from strategies._flower_names import available_flower_strategies
from tests.conftest import Runner, small_config

STRATEGIES = available_flower_strategies()
MODEL: dict[str, Value] = {
    "model__name": "stage-resnet",
    "model__blocks": "1-1-1-1",
    "model__width": 2,
    "local__batch_size": 128,
    "clients__fraction": 1.0,
    "clients__count": 4,
}
PARAMETERS: dict[str, dict[str, Value]] = {
    "flwr:QFedAvg": {"method__client-learning-rate": 0.1, "method__weighting": "examples"},
    "flwr:FedAvgM": {"method__server-momentum": 0.9},
}
IS_STATISTIC = ("running_mean", "running_var", "num_batches_tracked")


def options(method: str) -> dict[str, Any]:
    return {**MODEL, "method__name": method, **PARAMETERS.get(method, {})}


def model_of(run_directory: Path) -> dict[str, torch.Tensor]:
    return load_file(run_directory / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def average(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Return the model of FedAvg after a round."""
    config = small_config(tmp_path_factory.mktemp("average") / "run", rounds=1, **options("fedavg"))
    return model_of(
        run_experiment(config, SequentialGrid(app, config.clients.count, config.flat()), PlainLines())
    )


@pytest.mark.parametrize("method", STRATEGIES)
def test_statistics_are_fedavgs_and_a_resumed_run_has_the_same_bits(
    method: str, average: dict[str, torch.Tensor], run_small: Runner
) -> None:
    first = model_of(run_small("parts", rounds=1, **options(method)))
    statistics = [name for name in average if name.endswith(IS_STATISTIC)]
    assert len(statistics) > 9
    assert all(torch.equal(first[name], average[name]) for name in statistics)
    resumed = model_of(run_small("parts", rounds=2, run__resume=True, **options(method)))
    whole = model_of(run_small("whole", rounds=2, **options(method)))
    assert same(resumed, whole)
    assert all(value.isfinite().all() for value in whole.values())


@pytest.mark.parametrize("policy", ["local", "recalibrate"])
@pytest.mark.parametrize("method", ["flwr:FedAvgM", "flwr:FedAdam", "flwr:QFedAvg"])
def test_every_policy_for_statistics(method: str, policy: str, run_small: Runner) -> None:
    run = run_small("run", rounds=2, batch_norm__policy=policy, **options(method))
    for name, value in model_of(run).items():
        assert value.isfinite().all()
        if name.endswith("running_var"):
            assert (value >= 0).all()


@pytest.mark.parametrize("method", ["flwr:FedAvgM", "flwr:FedYogi", "flwr:FedAdagrad", "flwr:QFedAvg"])
def test_participation_may_be_corrected(method: str, run_small: Runner) -> None:
    skewed = {"participation__name": "skewed", "clients__fraction": 0.5, "rounds": 1}
    runs = [
        model_of(run_small(name, **{**options(method), **skewed, "participation__correction": name}))
        for name in ("none", "inverse-inclusion")
    ]
    assert not same(*runs)
