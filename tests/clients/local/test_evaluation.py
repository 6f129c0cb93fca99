"""Clients tested by training distribution, on long-tailed data."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from flwr.app import ConfigRecord

from clients.base import Client
from clients.hooks import Predictor
from clients.local.evaluation import client_evaluation_data
from clients.local.worker import Worker
from common.config import Config
from common.errors import UserError
from common.records import Tensors
from datasets.client_data.client_tests import (
    client_class_groups,
    client_label_counts,
    global_class_groups,
    local_tests,
)
from datasets.configured import open_dataset
from server.evaluation import CentralEvaluation
from tests.clients.jobs import global_model, small
from tests.conftest import Runner
from tests.strategies.messages import record

ROUND = ConfigRecord({"server-round": 1})
# Every client's favourite answers: the model ignores its input.
BIAS = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.25, 0.75, -0.5, 1.5])


def long_tailed(**keys: object) -> Config:
    options = {
        "model__name": "linear",
        "dataset__imbalance_factor": 0.1,
        "partition__name": "fed-lt",
        "partition__alpha": 0.2,
        "clients__test_data": "training-distribution",
        **keys,
    }
    return small(**options)  # type: ignore[arg-type]


def constant_model() -> Tensors:
    weight = global_model(small(model__name="linear"))["classifier.weight"]
    return {"classifier.weight": torch.zeros_like(weight), "classifier.bias": BIAS}


@pytest.mark.parametrize("name", ["fed-lt", "dirichlet"])
def test_the_global_model_on_drawn_test_samples(name: str) -> None:
    config = long_tailed(partition__name=name)
    dataset = open_dataset(config)
    drawn = local_tests(config, dataset).indices
    worker = Worker(config)
    for client_id in range(3):
        targets = dataset.test.targets[torch.from_numpy(drawn[client_id])]
        held = client_label_counts(config, dataset)[client_id] > 0
        masked = BIAS.masked_fill(~torch.from_numpy(held), float("-inf"))
        metrics = Client(worker, client_id).test({"arrays": constant_model()}, ROUND)
        assert metrics["accuracy"] == pytest.approx((targets == 4).double().mean().item())
        expected = (targets == int(masked.argmax())).double().mean().item()
        assert metrics["accuracy_masked"] == pytest.approx(expected)
        groups = torch.from_numpy(client_class_groups(config, dataset, client_id))[targets]
        head = targets[groups == 0]
        assert metrics["accuracy_head"] == pytest.approx((head == 4).double().mean().item())
        assert set(drawn[client_id]) <= set(range(len(dataset.test)))
        assert set(targets.tolist()) <= set(held.nonzero()[0].tolist())


def test_a_personal_predictor_is_measured_on_the_same_samples() -> None:
    worker = Worker(long_tailed())

    class Same(Client):
        def personal_predictor(self) -> Predictor:
            return self.worker.model

    received = {"arrays": constant_model()}
    first = Same(worker, 2).test(received, ROUND)
    names = [name for name in first if name.startswith("personal_")]
    assert len(names) > 6
    for name in names:
        assert first[name] == pytest.approx(first[name.removeprefix("personal_")], rel=1e-6)
    assert Same(worker, 2).test(received, ROUND) == first


def test_the_mask_can_be_that_of_the_test_data_or_none() -> None:
    data = {
        mask: client_evaluation_data(Client(Worker(long_tailed(evaluate__mask=mask)), 0)).report
        for mask in ("train-counts", "test-counts", "none")
    }
    assert all(report is not None for report in data.values())
    train, test = data["train-counts"].allowed, data["test-counts"].allowed  # type: ignore[union-attr]
    assert train is not None
    assert test is not None
    assert (train | ~test).all()
    assert train.sum() > test.sum()  # a class with one training sample has no test sample
    assert data["none"].allowed is None  # type: ignore[union-attr]


def test_without_groups_only_loss_and_accuracy_are_told() -> None:
    config = long_tailed(evaluate__groups="none")
    plain = Client(Worker(config), 0).test({"arrays": constant_model()}, ROUND)
    assert set(plain) == {"num-examples", "loss", "accuracy"}
    grouped = Client(Worker(long_tailed()), 0).test({"arrays": constant_model()}, ROUND)
    assert plain["loss"] == pytest.approx(grouped["loss"], rel=1e-6)
    assert plain["accuracy"] == grouped["accuracy"]


def test_central_evaluation_by_groups() -> None:
    config = long_tailed()
    dataset = open_dataset(config)
    evaluation = CentralEvaluation(config, dataset)
    results = evaluation(record(constant_model()))
    groups = global_class_groups(config, dataset)
    assert groups is not None
    group_of_answer = ("head", "middle", "tail")[groups[4]]
    in_group = torch.from_numpy(groups == groups[4])[dataset.test.targets]
    expected = (dataset.test.targets[in_group] == 4).double().mean().item()
    for name in ("head", "middle", "tail"):
        found = results[f"test_accuracy_{name}"]
        assert found == (pytest.approx(expected) if name == group_of_answer else 0.0)
    assert evaluation(record(constant_model())) == results


@pytest.mark.parametrize("groups", ["cumulative", "counts"])
def test_groups_of_balanced_data_on_request(groups: str) -> None:
    config = small(model__name="linear", evaluate__groups=groups)
    results = CentralEvaluation(config, open_dataset(config))(record(constant_model()))
    assert ("test_accuracy_middle" in results) == (groups == "cumulative")  # all have more than 100
    metrics = Client(Worker(config), 1).test({"arrays": constant_model()}, ROUND)
    assert "accuracy_masked" in metrics


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (
            {"clients__test_data": "training-distribution", "partition__name": "node"},
            "with partition 'node' each has its own: set it to 'class-weighted'",
        ),
        ({"clients__test_data": "own"}, "clients.test-data must be 'class-weighted' or"),
        ({"evaluate__groups": "few"}, "evaluate.groups must be 'auto'"),
        ({"evaluate__mask": "all"}, "evaluate.mask must be 'train-counts'"),
    ],
)
def test_impossible_reports(keys: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        open_dataset(small(**keys))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["fedper", "flwr:FedAdam"])
def test_a_whole_run(method: str, run_small: Runner, tmp_path: Path) -> None:
    run = run_small(
        method__name=method,
        rounds=1,
        clients__evaluate_fraction=1.0,
        model__name="mlp",
        dataset__imbalance_factor=0.1,
        partition__name="fed-lt",
        partition__alpha=1.0,
        clients__test_data="training-distribution",
    )
    last = pd.read_csv(run / "metrics.csv").iloc[-1]
    prefix = "personal" if method == "fedper" else "federated"
    assert 0 <= last[f"{prefix}_accuracy_masked_worst_decile"] <= last[f"{prefix}_accuracy_masked_macro"] <= 1
    assert last[f"{prefix}_accuracy_masked_macro"] >= last[f"{prefix}_accuracy_macro"]
    assert "test_accuracy_tail" in last
    rows = pd.read_csv(run / "evaluations.csv")
    name = "personal_accuracy_tail" if method == "fedper" else "accuracy_tail"
    assert rows[name].mean() == pytest.approx(last[f"{prefix}_accuracy_tail"], abs=1e-5)
    classes = pd.read_csv(run / "classes.csv")
    assert len(classes) == 2 * 10
    assert classes["train_examples"].iloc[:2].tolist() == [142, 111]
    final = classes[(classes["round"] == 1) & (classes["group"] == "head")]
    sizes = open_dataset(long_tailed()).test.targets.bincount()[: len(final)]
    expected = (final["test_accuracy"].to_numpy() * sizes.numpy()).sum() / sizes.sum().item()
    assert last["test_accuracy_head"] == pytest.approx(expected, abs=1e-5)
