"""Ratio loss: gradients by class and their ratios."""

import math
from types import SimpleNamespace

import pytest
import torch
from flwr.app import ConfigRecord
from torch import nn
from torch.nn import functional as F

from clients._class_gradients import class_gradients
from clients.local.batches import Batch
from clients.local.worker import Worker
from clients.ratio_loss import RatioLoss, class_ratios
from common.errors import UserError
from datasets.dataset import Split
from models.classifier import Classifier
from tests.clients.jobs import global_model, small, train
from tests.methods.federation import LossWorker
from tests.methods.heads import head_of

ROUND = ConfigRecord({"server-round": 1})
LINEAR = {"model__name": "linear", "partition__alpha": 0.2}


class Plain(Classifier):
    """Two features, which are the inputs, and two classes, which are equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(2, 2, bias=False)
        nn.init.zeros_(self.classifier.weight)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x


class TestRatioLoss:
    def test_class_gradients_are_those_of_autograd(self) -> None:
        head = head_of(5, 4)
        features = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
        targets = torch.arange(12) % 3  # class 3 has none
        gradients = class_gradients(features, targets, head)
        for label in range(3):
            loss = F.cross_entropy(head(features[targets == label]), targets[targets == label])
            (expected,) = torch.autograd.grad(loss, head.weight)
            torch.testing.assert_close(gradients[label], expected)
        assert (gradients[3] == 0).all()

    def test_ratios_of_two_classes(self) -> None:
        head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            head.weight.zero_()
        features = torch.tensor([[1.0, 2.0], [4.0, 0.0]])
        # Row 0: own gradient -(1, 2) / 2, the other class's (4, 0) / 2, which has none of the second link.
        ratios = class_ratios(features, torch.tensor([0, 1]), head)
        assert ratios.tolist() == pytest.approx([0.25, (4 + 0) / 2])

    @pytest.mark.parametrize(
        ("parameters", "weights"),
        [
            ({}, (1.025, 1.2)),  # of the ratios 0.25 and 2
            ({"alpha": 0.5, "beta": 0.4}, (0.6, 1.3)),
            ({"alpha": 0.5, "beta": 0.4, "largest_ratio": 1.5}, (0.6, 1.1)),
            ({"alpha": 0.0, "beta": 1.0}, (0.25, 2.0)),
            ({"alpha": 0.0, "beta": 1.0, "largest_ratio": 0.0}, (0.25, 2.0)),
        ],
    )
    def test_the_loss_is_the_cross_entropy_times_alpha_and_beta_times_the_ratio(
        self, parameters: dict[str, float], weights: tuple[float, float]
    ) -> None:
        worker = LossWorker(small(), [2], Plain())
        inputs, labels = torch.tensor([[1.0, 2.0], [4.0, 0.0]]), torch.tensor([0, 1])
        worker.dataset = SimpleNamespace(  # type: ignore[assignment]
            num_classes=2, train=Split(inputs, labels), validation=None
        )
        client = RatioLoss(worker, 0, {}, dict(parameters))
        client.begin_round()
        targets = torch.tensor([0, 1, 1])
        batch = Batch(torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]]), targets, torch.arange(3))
        expected = math.log(2) * (weights[0] + 2 * weights[1]) / 3
        assert client.loss(client.params, batch).item() == pytest.approx(expected, rel=1e-5)

    def test_a_class_that_is_fitted_well_weighs_less(self) -> None:
        head = head_of(3, 3)
        features = torch.rand(30, 3, generator=torch.Generator().manual_seed(2))
        targets = torch.arange(30) % 3
        before = class_ratios(features, targets, head)
        with torch.no_grad():
            head.bias[0] += 3.0
        assert class_ratios(features, targets, head)[0] < before[0]

    def test_without_beta_it_is_alpha_times_cross_entropy(self) -> None:
        config = small(**LINEAR)  # type: ignore[arg-type]
        start = global_model(config)

        class Plain(RatioLoss):
            beta = 0.0

        result = train(Worker(config), 0, start, client_class=Plain)
        for name, value in train(Worker(config), 0, start).model.items():
            torch.testing.assert_close(result.model[name], value)

    def test_all_clients_see_the_same_ratios_of_a_balanced_set(self) -> None:
        worker, model = Worker(small(**LINEAR)), global_model(small(**LINEAR))  # type: ignore[arg-type]
        weights = []
        for client_id in (0, 3):
            client = RatioLoss(worker, client_id)
            client._receive({"arrays": model}, ROUND)
            client.begin_round()
            weights.append(client.class_weights)
            assert client._auxiliary_set().targets.bincount().tolist() == [10] * 10
        assert torch.equal(*weights)
        assert (weights[0] > 1).all()

    def test_nodes_with_data_of_their_own_are_refused(self) -> None:
        with pytest.raises(UserError, match="an auxiliary set that all clients know"):
            RatioLoss(Worker(small(partition__name="node")), 0).validate()
