"""FedLC: losses by hand, and relations."""

import math

import pytest
import torch

from clients.fedlc import FedLC, calibration
from clients.local.batches import Batch
from clients.local.worker import Worker
from tests.clients.jobs import small
from tests.methods.shifted_logits import (
    check_that_absent_classes_are_not_unlearnt,
    check_that_without_strength_it_is_fedavg,
)


def test_shifts() -> None:
    """16^(-1/4) = 1/2 and 81^(-1/4) = 1/3."""
    assert calibration(torch.tensor([16, 81, 1, 0]), 2.0).tolist() == pytest.approx([1, 2 / 3, 2, math.inf])


@pytest.mark.parametrize(
    ("denominator", "counts", "expected"),
    [
        # Shifts 1/2, 1, 1/3 and infinity: -log(e^(-1/2) / (e^(-1/2) + e^(-1) + e^(-1/3))).
        ("all", [16, 1, 81], math.log(1 + math.exp(-1 / 2) + math.exp(1 / 6))),
        ("others", [16, 1, 81], math.log(math.exp(-1 / 2) + math.exp(1 / 6))),
        ("others", [16, 1], -1 / 2),
        ("all", [16], 0.0),
        ("others", [16], 0.0),
    ],
)
def test_the_loss_by_hand(denominator: str, counts: list[int], expected: float) -> None:
    """Equal logits of class 0; the gradient in its logit is e^(s_0) / sum_c e^(s_c) - 1, or -1."""
    client = given(denominator, counts)
    batch = type("OfClassZero", (), {"inputs": torch.zeros(3, 1, 8, 8), "targets": torch.zeros(3).long()})
    loss = client.loss(client.params, batch)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss, client.params["classifier.bias"])
    inside = math.exp(-expected) - 1 if denominator == "all" else -1.0
    assert gradient[0].item() == pytest.approx(inside if len(counts) > 1 else 0.0, abs=1e-6)
    assert gradient.sum().item() == pytest.approx(0, abs=1e-6)
    assert (gradient[len(counts) :] == 0).all()


def given(denominator: str, counts: list[int]) -> FedLC:
    class Given(FedLC):
        def target_counts(self, counts_of_all: torch.Tensor | None = None) -> torch.Tensor:
            return torch.tensor(counts + [0] * (10 - len(counts)))

    worker = Worker(small(model__name="linear"))
    client = Given(worker, 0, {}, {"denominator": denominator})
    client.received = {
        "arrays": {name: torch.zeros_like(value) for name, value in worker.model_state.items()}
    }
    worker.load(client.received["arrays"])
    client.begin_round()
    return client


def test_a_stack_has_the_loss_of_each() -> None:
    clients = [given("others", counts) for counts in ([16, 1, 81], [16])]
    logits, targets = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(0)), torch.zeros(5).long()
    stand_in = given("others", [1])

    def loss(logits: torch.Tensor, shift: torch.Tensor, has_others: torch.Tensor) -> torch.Tensor:
        stand_in.shift, stand_in.has_others = shift, has_others
        stand_in.forward = lambda params, inputs: logits  # type: ignore[method-assign]
        return stand_in.loss({}, Batch(logits, targets, targets))

    rows = [(own, client.shift, client.has_others) for own, client in zip(logits, clients, strict=True)]
    together = torch.func.vmap(loss)(*map(torch.stack, zip(*rows, strict=True)))
    torch.testing.assert_close(together, torch.stack([loss(*row) for row in rows]))


def test_without_strength_it_is_fedavg() -> None:
    check_that_without_strength_it_is_fedavg(FedLC)


def test_absent_classes_are_not_unlearnt() -> None:
    check_that_absent_classes_are_not_unlearnt(FedLC)
