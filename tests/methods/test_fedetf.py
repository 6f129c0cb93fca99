"""Closed-form numbers and relations of FedETF."""

import math
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord
from torch.nn import functional as F

from clients._configuration import complete
from clients.fedetf import FedETF, dot_regression
from clients.local.batches import Batch
from clients.local.worker import Worker
from common.errors import UserError
from common.records import ARRAYS, Tensors
from models.classifier import as_classifier
from models.heads.sse_c import frame
from strategies.fedetf import FedETF as FedETFServer
from tests.clients.jobs import small

FRAME = frame(torch.eye(3, dtype=torch.float64))


def test_dot_regression() -> None:
    directions = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    loss = dot_regression(F.normalize(directions, dim=1), FRAME, torch.tensor([0, 0, 0, 1]))
    assert loss.item() == pytest.approx(0.2186534, abs=1e-7)


def test_the_gradient_of_dot_regression() -> None:
    directions = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    units, targets = F.normalize(directions, dim=1).requires_grad_(), torch.tensor([0, 0, 0, 1])
    dot_regression(units, FRAME, targets).backward()  # type: ignore[no-untyped-call]
    scales = torch.tensor([0.816497, 1.414214, 1], dtype=torch.float64)  # e; class 2 is not in the batch
    dots = torch.tensor([0.666667, -0.333333, 0.235702, 1.154701], dtype=torch.float64)
    norms = torch.tensor([0.816497, 0.816497, 0.816497, 1.414214], dtype=torch.float64)
    goals = (scales[:, None] * FRAME)[targets]
    torch.testing.assert_close(goals.norm(dim=1), norms, atol=1e-6, rtol=0)
    torch.testing.assert_close((units * goals).sum(dim=1).detach(), dots, atol=1e-6, rtol=0)
    assert units.grad is not None
    torch.testing.assert_close(units.grad, (dots - norms)[:, None] * goals / 4, atol=1e-6, rtol=0)


def test_dot_regression_is_zero_on_the_frame() -> None:
    targets = torch.tensor([0, 2, 2, 1])
    assert dot_regression(FRAME[targets], FRAME, targets).item() == pytest.approx(0, abs=1e-12)
    assert dot_regression(-FRAME[targets], FRAME, targets) > 1


def worker_and_model(**keys: Any) -> tuple[Worker, Tensors]:
    config = complete(small(method__name="fedetf", **keys))
    worker = Worker(config)
    state = {name: value.clone() for name, value in worker.model_state.items()}
    return worker, FedETFServer().initial_model(state, config.seed)


def train(worker: Worker, model: Tensors, client_id: int = 0, **parameters: Any) -> tuple[FedETF, Tensors]:
    client = FedETF(worker, client_id, parameters=parameters)
    client.validate()
    sections, _ = client.train({ARRAYS: model}, ConfigRecord({"server-round": 1}))
    return client, {name: value.detach().clone() for name, value in sections[ARRAYS].items()}


def test_logits_are_temperature_times_cosine() -> None:
    worker, model = worker_and_model()
    worker.load(model)
    inputs = torch.randn(5, 1, 8, 8)
    network = as_classifier(worker.model)
    projected = network.projection.linear(network.features(inputs))  # type: ignore[union-attr, operator]
    cosines = F.cosine_similarity(projected[:, None], model["classifier.weight"][None], dim=-1)
    torch.testing.assert_close(network(inputs), 10 * cosines)


def test_loss_is_balanced_by_the_clients_counts() -> None:
    worker, model = worker_and_model()
    client = FedETF(worker, 0)
    worker.load(model)
    counts = client.label_counts()
    assert bool((counts == 0).any())
    targets = counts.nonzero().flatten()[:2]
    batch = Batch(torch.randn(2, 1, 8, 8), targets, torch.arange(2))
    logits = worker.model(batch.inputs)
    weights = counts * logits.exp()
    expected = -(weights[[0, 1], targets] / weights.sum(1)).log().mean()
    torch.testing.assert_close(client.loss(client.params, batch), expected)


@pytest.mark.parametrize("variant", ["fedetf", "etf-dr"])
def test_the_frame_stays_and_the_rest_is_trained(variant: str) -> None:
    worker, model = worker_and_model(method__variant=variant)
    _, after = train(worker, model, variant=variant)
    moved = {name for name in after if not torch.equal(after[name], model[name])}
    assert moved == set(model) - {"classifier.weight", "classifier.bias"}
    angles = model["classifier.weight"] @ model["classifier.weight"].T
    torch.testing.assert_close(angles, torch.eye(10) * (10 / 9) - 1 / 9, atol=1e-5, rtol=0)


def test_fine_tuning_in_phases() -> None:
    worker, model = worker_and_model()
    start = {name: value.clone() for name, value in model.items()}
    frame_names = {"classifier.weight", "classifier.bias"}
    moved: dict[tuple[int, int], set[str]] = {}
    for epochs, alternations in ((0, 0), (1, 0), (0, 1)):
        parameters = {"fine_tuning_epochs": epochs, "alternations": alternations}
        client = FedETF(worker, 1, parameters=parameters)
        metrics = client.test({ARRAYS: model}, ConfigRecord({"server-round": 1}))
        client._receive({ARRAYS: model}, ConfigRecord({"server-round": 1}))
        own = client.personal_model()
        moved[epochs, alternations] = {name for name in own if not torch.equal(own[name], start[name])}
        assert math.isfinite(metrics["personal_loss"])
        assert all(torch.equal(worker.model_state[name], start[name]) for name in start)
    assert moved[0, 0] == set()
    assert moved[1, 0] == set(model) - frame_names
    assert moved[0, 1] == {"classifier.weight"} | {"projection.linear.weight", "projection.linear.bias"}


def test_a_model_without_unit_vectors_is_refused() -> None:
    config = small(method__name="fedetf", model__features="plain")
    with pytest.raises(UserError, match=r"needs model\.features = 'normalized', not 'plain'"):
        FedETF(Worker(complete(config)), 0).validate()
    assert complete(small(method__name="fedetf")).model.parameters["features"] == "normalized"
    assert complete(small(method__name="moon")).model.parameters["projection"] == 256


def test_another_width_of_the_projection() -> None:
    _, model = worker_and_model(model__projection=12)
    assert model["classifier.weight"].shape == (10, 12)
    with pytest.raises(UserError, match="8 features for 10 classes"):
        worker_and_model(model__projection=8)
    with pytest.raises(UserError, match="has no outputs of its own"):
        worker_and_model(method__variant="etf-dr", model__projection=12)
