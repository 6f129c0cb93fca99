"""FedLC: losses by hand, and relations."""

import math

import pytest
import torch

from clients.fedlc import FedLC, calibration
from clients.local.worker import Worker
from tests.clients.jobs import small
from tests.methods.shifted_logits import (
    check_that_absent_classes_are_not_unlearnt,
    check_that_without_strength_it_is_fedavg,
)


def test_shifts() -> None:
    """16^(-1/4) = 1/2 and 81^(-1/4) = 1/3."""
    assert calibration(torch.tensor([16, 81, 1, 0]), 2.0).tolist() == pytest.approx([1, 2 / 3, 2, math.inf])


def test_the_loss_by_hand() -> None:
    """Equal logits with shifts 1/2, 1 and infinity: -log(e^(-1/2) / (e^(-1/2) + e^(-1)))."""

    class Given(FedLC):
        def target_counts(self, counts: torch.Tensor | None = None) -> torch.Tensor:
            return torch.tensor([16, 1] + [0] * 8)

    worker = Worker(small(model__name="linear"))
    start = {name: torch.zeros_like(value) for name, value in worker.state.items()}
    client = Given(worker, 0)
    client.received = {"arrays": start}
    worker.load(start)
    client.begin_round()
    batch = type("OfClassZero", (), {"inputs": torch.zeros(3, 1, 8, 8), "targets": torch.zeros(3).long()})
    loss = client.loss(client.params, batch)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5)))


def test_without_strength_it_is_fedavg() -> None:
    check_that_without_strength_it_is_fedavg(FedLC)


def test_absent_classes_are_not_unlearnt() -> None:
    check_that_absent_classes_are_not_unlearnt(FedLC)
