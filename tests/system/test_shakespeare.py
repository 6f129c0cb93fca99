"""Whole runs on made-up plays."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from flwr.app import ConfigRecord
from torch.nn.functional import cross_entropy

from analysis.plots.label_distribution import plot as plot_label_distribution
from clients.app import app
from clients.base import Client
from clients.local.worker import get_worker
from common.config import Config
from common.config_values import merge
from common.errors import UserError
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from runtimes.comparators import derive
from runtimes.sequential import SequentialGrid
from server.evaluation import CentralEvaluation
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.datasets.shakespeare.texts import write_plays

LAYER = {
    "rounds": 2,
    "clients.count": 6,
    "clients.fraction": 0.5,
    "dataset.name": "shakespeare",
    "partition.name": "natural",
    "model.name": "char-lstm",
    "model.hidden": 16,
    "model.layers": 1,
    "local.steps": 4,
    "local.batch-size": 16,
    "optimizer.learning-rate": 2.0,
    "dataset.test-stride": 5,
    "dataset.validation-fraction": 0.1,
}


def configure(tmp_path: Path, name: str = "run", **overrides: object) -> Config:
    if not (tmp_path / "texts").exists():
        write_plays(tmp_path / "texts", {"ANNA": 15, "BEN": 12, "CARL": 9})
    layer = {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()}
    paths = {"dataset.root": str(tmp_path / "texts"), "run.directory": str(tmp_path / name)}
    return Config.from_flat(merge(LAYER, paths, layer))  # type: ignore[arg-type]


def run(config: Config) -> Path:
    grid = SequentialGrid(app, config.clients.count, config.flat())
    return run_experiment(config, grid, PlainLines())


def final(run_directory: Path) -> dict[str, float]:
    summary = json.loads((run_directory / "summary.json").read_text())
    return {key: value for key, value in summary.items() if key.startswith("final.") or "sha256" in key}


@pytest.mark.parametrize("partition", ["natural", "iid", "dirichlet"])
def test_next_character(tmp_path: Path, partition: str) -> None:
    keys = {"partition__name": partition, "clients__evaluate_fraction": 0.5}
    run_directory = run(configure(tmp_path, **keys))
    metrics = pd.read_csv(run_directory / "metrics.csv").set_index("round")
    assert metrics["test_loss"][2] < metrics["test_loss"][0] == pytest.approx(4.382, abs=0.1)
    assert metrics["federated_accuracy"].loc[1:].between(0, 1).all()
    counts = pd.read_csv(run_directory / "label_distribution.csv")
    assert counts.shape == (6, 82)
    assert (counts["num_examples"] == counts.drop(columns=["client_id", "num_examples"]).sum(axis=1)).all()
    assert plot_label_distribution(run_directory).is_file()
    assert final(run_directory) == final(run(configure(tmp_path, "again", **keys)))


@pytest.mark.parametrize("partition", ["natural", "iid"])
def test_every_character(tmp_path: Path, partition: str) -> None:
    keys = {"dataset__task": "every-character", "dataset__test_stride": 0, "clients__evaluate_fraction": 0.5}
    run_directory = run(configure(tmp_path, partition__name=partition, **keys))
    metrics = pd.read_csv(run_directory / "metrics.csv").set_index("round")
    assert metrics["test_loss"][0] == pytest.approx(4.5, abs=0.1)  # ln 90
    assert metrics["test_loss"][2] < 4.0
    assert metrics["federated_accuracy"].loc[1:].between(0, 1).all()
    counts = pd.read_csv(run_directory / "label_distribution.csv")
    assert counts.shape == (6, 92)
    assert (counts["pad"] == 0).all()


def test_iid_and_natural_are_tested_on_the_same_windows(tmp_path: Path) -> None:
    natural, iid = (configure(tmp_path, partition__name=name) for name in ("natural", "iid"))
    results = []
    for config in (natural, iid):
        evaluation = CentralEvaluation(config, open_dataset(config))
        results.append(evaluation(evaluation.initial_arrays()))
    assert results[0] == results[1]


def test_accuracy_of_clients_is_reported_beside_that_of_windows(tmp_path: Path) -> None:
    config = configure(tmp_path)
    data = open_dataset(config)
    evaluation = CentralEvaluation(config, data)
    results = evaluation(evaluation.initial_arrays())
    with torch.no_grad():
        hits = evaluation.model(data.test.inputs.int()).argmax(dim=1) == data.test.targets
    assert data.test.clients is not None
    per_client = torch.stack([hits[data.test.clients == client].double().mean() for client in range(6)])
    assert results["test_accuracy"] == pytest.approx(hits.double().mean().item())
    assert results["test_accuracy_macro"] == pytest.approx(per_client.mean().item())
    assert results["test_accuracy_p10"] == pytest.approx(per_client.quantile(0.1).item())
    assert results["test_accuracy_p90"] == pytest.approx(per_client.quantile(0.9).item())
    assert "validation_accuracy_macro" in results
    assert {"final.test_accuracy_macro", "final.test_accuracy_p90"} <= set(final(run(config)))


def test_a_natural_client_is_evaluated_on_its_own_test_windows(tmp_path: Path) -> None:
    config = configure(tmp_path)
    worker = get_worker(config)
    test = worker.dataset.test
    assert test.clients is not None
    own = test.clients == 2
    with torch.no_grad():
        logits = worker.model(test.inputs[own].int())
    client = Client(worker, 2)
    arrays = {name: value.detach().clone() for name, value in worker.model_state.items()}
    result = client.test({"arrays": arrays}, ConfigRecord({"server-round": 1}))
    accuracy = (logits.argmax(dim=1) == test.targets[own]).double().mean().item()
    assert result["loss"] == pytest.approx(cross_entropy(logits, test.targets[own]).item(), rel=1e-6)
    assert result["accuracy"] == pytest.approx(accuracy)
    assert int(client.label_counts().sum()) == result["num-examples"] == len(client.indices)


@pytest.mark.parametrize("partition", ["natural", "iid"])
def test_the_ceiling_holds_the_windows_of_the_same_roles(tmp_path: Path, partition: str) -> None:
    config = configure(tmp_path, clients__count=2, partition__name=partition)
    ceiling = derive(config, "centralized", lambda: [], lambda: True)
    federated, pooled = open_dataset(config), open_dataset(ceiling)
    assert len(pooled.client_names) == 2
    assert torch.equal(pooled.train.inputs, federated.train.inputs)
    assert torch.equal(pooled.test.inputs, federated.test.inputs)
    (everything,) = partition_clients(ceiling, pooled)
    assert sorted(everything) == list(range(len(pooled.train)))


def test_moon_and_its_projection_on_text(tmp_path: Path) -> None:
    run_directory = run(
        configure(tmp_path, method__name="moon", clients__fraction=1.0, optimizer__learning_rate=0.5)
    )
    metrics = pd.read_csv(run_directory / "metrics.csv")
    assert metrics["test_loss"].iloc[-1] < metrics["test_loss"][0]


@pytest.mark.parametrize("method", ["moon", "knn-per"])
def test_methods_that_need_one_label_per_sample_say_so(tmp_path: Path, method: str) -> None:
    task = {"dataset__task": "every-character", "dataset__test_stride": 0}
    with pytest.raises(UserError, match="one label per sample"):
        run(configure(tmp_path, method__name=method, **task))
    assert not (tmp_path / "run").exists()
