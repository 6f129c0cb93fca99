"""Label noise in local training, and the training accuracy."""

import math

import pandas as pd
import pytest
import torch
from flwr.app import ConfigRecord
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch
from clients.local.full_batch import full_loss
from clients.local.training_batches import iterate_training_batches
from clients.local.worker import Worker
from common.config import Config
from common.records import ARRAYS
from datasets.noise.label_noise import expected_counts
from tests.clients.jobs import equal, global_model, small, train
from tests.conftest import Runner


def batches(config: Config, server_round: int = 1, client_id: int = 0, purpose: str = "") -> list[Batch]:
    client = Client(Worker(config), client_id)
    client.server_round = server_round
    return list(iterate_training_batches(client, purpose, config.local))


def flips(config: Config, **keys: int) -> list[bool]:
    return [flip for batch in batches(config, **keys) for flip in (batch.targets != batch.labels).tolist()]


def test_noise_is_keyed_by_round_and_client_and_leaves_the_batches_alone() -> None:
    noisy, clean = small(dataset__label_noise=0.4), small()
    for first, second in zip(batches(noisy), batches(clean), strict=True):
        assert torch.equal(first.inputs, second.inputs)
        assert torch.equal(first.labels, second.targets)
    assert flips(noisy) == flips(noisy)
    assert len({tuple(flips(noisy, server_round=r, client_id=c)) for r in (1, 2) for c in (0, 1)}) == 4
    assert any(flips(noisy))
    assert not any(flips(clean))


@pytest.mark.parametrize("sampling", ["shard", "replacement"])
def test_noise_of_a_stream_depends_on_the_step_alone(sampling: str) -> None:
    keys = {"dataset__label_noise": 0.4, "local__sampling": sampling}
    whole = flips(small(local__steps=4, **keys))
    halves = [flips(small(local__steps=2, **keys), server_round=r) for r in (1, 2)]
    assert whole == halves[0] + halves[1]


def test_the_excess_loss_counts_labels_not_logits() -> None:
    """The noise has ten labels to choose from, however many logits there are."""
    options = {"dataset__label_noise": 0.5, "model__name": "linear", "local__steps": 1}
    config = small(model__outputs=30, **options)
    start = global_model(config)
    result = train(Worker(config), 0, start)
    (batch,) = batches(config)
    logits = batch.inputs.flatten(1) @ start["classifier.weight"].T + start["classifier.bias"]
    log_p = torch.log_softmax(logits, 1)[:, :10]
    true = log_p.gather(1, batch.labels[:, None])[:, 0]
    expected = -(0.5 * true + 0.5 / 9 * (log_p.sum(1) - true)).mean().item()
    assert result.metrics["train_expected_loss"] == pytest.approx(expected, rel=1e-5)
    floor = math.log(2) + 0.5 * math.log(9)
    assert result.metrics["train_excess_loss"] == pytest.approx(expected - floor, rel=1e-4)


def test_training_sees_noisy_labels_and_measures_on_true_ones() -> None:
    config = small(dataset__label_noise=0.5, model__name="linear", local__steps=1, local__batch_size=64)
    start = global_model(config)
    worker = Worker(config)
    result = train(worker, 0, start)
    (batch,) = batches(config)
    logits = batch.inputs.flatten(1) @ start["classifier.weight"].T + start["classifier.bias"]
    assert result.metrics["train_loss"] == pytest.approx(
        F.cross_entropy(logits, batch.targets).item(), rel=1e-5
    )
    accuracy = (logits.argmax(1) == batch.labels).double().mean().item()
    assert result.metrics["train_accuracy"] == pytest.approx(accuracy)
    log_p = torch.log_softmax(logits, 1)
    true = log_p.gather(1, batch.labels[:, None])[:, 0]
    expected = -(0.5 * true + 0.5 / 9 * (log_p.sum(1) - true)).mean().item()
    assert result.metrics["train_expected_loss"] == pytest.approx(expected, rel=1e-5)
    assert not equal(result.model, train(Worker(small(model__name="linear")), 0, start).model)


@pytest.mark.parametrize("method", ["fedavg", "moon", "fedsam", "localsgd"])
def test_training_accuracy_of_methods(method: str, run_small: Runner) -> None:
    path = run_small(rounds=2, method__name=method, model__name="mlp", dataset__label_noise=0.1)
    metrics = pd.read_csv(path / "metrics.csv")
    assert metrics["train_accuracy"][1:].between(0, 1).all()
    assert metrics["train_accuracy"].isna()[0]
    assert (metrics["train_excess_loss"][1:] > 0).all()


def test_expected_counts_of_noisy_labels() -> None:
    counts = torch.tensor([80, 20, 0])
    assert expected_counts(counts, 0.0) is counts
    assert expected_counts(counts, 0.1).tolist() == pytest.approx([73.0, 22.0, 5.0])
    assert expected_counts(counts, 2 / 3).tolist() == pytest.approx([100 / 3] * 3)


@pytest.mark.parametrize(
    ("method", "extra"),
    [
        ("balanced-softmax", {}),
        ("balanced-softmax", {"method__prior": "global"}),
        ("fedrod", {}),
        ("fedetf", {}),
    ],
)
def test_a_class_prior_counts_noisy_labels(method: str, extra: dict[str, str], run_small: Runner) -> None:
    """A client gets noisy labels of classes that it lacks: with a prior of 0 their loss would be infinite."""
    path = run_small(
        rounds=1,
        method__name=method,
        model__name="mlp",
        dataset__label_noise=0.3,
        partition__name="classes",
        partition__classes_per_client=2,
        clients__evaluate_fraction=0.0,
        **extra,
    )
    assert pd.read_csv(path / "metrics.csv")["train_loss"][1:].between(0, 100).all()


@pytest.mark.parametrize("keys", [{}, {"attack__name": "label-flip", "attack__fraction": 1.0}])
def test_the_full_gradient_is_that_of_the_labels_trained_on(keys: dict[str, str | float]) -> None:
    client = Client(Worker(small(dataset__label_noise=0.4, model__name="linear", **keys)), 0)
    client.server_round = 3
    true = client.worker.train.targets[torch.from_numpy(client.indices)]
    noisy = client.noisy_labels(3)(true)
    assert 0.2 < (noisy != true).double().mean() < 0.6
    assert torch.equal(noisy, client.noisy_labels(3)(true))
    assert not torch.equal(noisy, client.noisy_labels(4)(true))
    labels = 9 - noisy if keys else noisy
    inputs = client.worker.normalizer(client.worker.train.inputs[torch.from_numpy(client.indices)]).flatten(1)
    errors = client.worker.model(inputs.view(-1, 1, 8, 8)).softmax(1) - F.one_hot(labels, 10)
    gradient = client.full_gradient()
    torch.testing.assert_close(gradient["classifier.bias"], errors.mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        gradient["classifier.weight"], errors.T @ inputs / len(inputs), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("keys", [{}, {"attack__name": "label-flip", "attack__fraction": 1.0}])
def test_losses_are_those_of_noisy_labels_and_of_an_attacker_not_flipped(
    keys: dict[str, str | float],
) -> None:
    worker = Worker(small(dataset__label_noise=0.4, model__name="linear", **keys))
    client = Client(worker, 0)
    client.server_round = 3
    samples = torch.from_numpy(client.indices)
    noisy = client.noisy_labels(3)(worker.train.targets[samples])
    with torch.no_grad():
        logits = worker.model(worker.normalizer(worker.train.inputs[samples]))
    loss = F.cross_entropy(logits, noisy).item()
    assert full_loss(client) == pytest.approx(loss)
    assert full_loss(client) == full_loss(client)
    query = ConfigRecord({"server-round": 3, "one-batch": False})
    model = {name: value.clone() for name, value in worker.model_state.items()}
    assert client.training_loss({ARRAYS: model}, query)["loss"] == pytest.approx(loss)
