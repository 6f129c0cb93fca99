"""FedNTD: its term by hand, and its relations."""

import math

import pytest
import torch

from clients._distillation import logits_of_teacher
from clients.fedntd import FedNTD, not_true_divergence
from clients.local.batches import Batch
from clients.local.worker import Worker
from tests.clients.jobs import equal, global_model, small, train


def term(own: list[float], teacher: list[float], target: int, tau: float = 1.0) -> float:
    rows = [torch.tensor([row], dtype=torch.float64) for row in (own, teacher)]
    return not_true_divergence(rows[0], rows[1], torch.tensor([target]), tau).item()


def test_by_hand() -> None:
    assert term([1, 2, 3], [0, 1, 0], 2) == pytest.approx(0.0, abs=1e-12)  # both leave a difference of 1
    assert term([1, 2, 3], [0, 1, 0], 0) == pytest.approx(math.tanh(0.5), abs=1e-12)
    assert term([1, 2, 3], [0, 1, 0], 0, tau=2.0) == pytest.approx(2 * math.tanh(0.25), abs=1e-12)


def test_the_true_class_has_no_gradient() -> None:
    own = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 4, 2, 2])
    not_true_divergence(own, torch.zeros(4, 5, dtype=torch.float64), targets).backward()
    assert own.grad is not None
    assert (own.grad.gather(1, targets[:, None]) == 0).all()
    assert (own.grad != 0).sum() == 4 * 4


def test_positions_count_like_samples_and_padding_does_not() -> None:
    own, teacher = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    targets = torch.tensor([[0, 1, 2, -100], [2, -100, -100, 1]])
    kept = [
        not_true_divergence(own[i, :, j][None], teacher[i, :, j][None], targets[i, j][None])
        for i in range(2)
        for j in range(4)
        if targets[i, j] >= 0
    ]
    assert not_true_divergence(own, teacher, targets).item() == pytest.approx(
        torch.stack(kept).mean().item(), abs=1e-6
    )


def test_two_classes_leave_nothing_to_distil() -> None:
    assert term([1, 2], [5, -1], 0) == 0


def test_beta_zero_and_the_first_step_are_fedavg() -> None:
    """At the global model the term is at its minimum: its gradient is 0."""

    class NoTerm(FedNTD):
        beta = 0.0

    for config, cls in ((small(), NoTerm), (small(local__steps=1), FedNTD)):
        worker, start = Worker(config), global_model(config)
        found, plain = train(worker, 0, start, client_class=cls), train(worker, 0, start)
        if cls is NoTerm:
            assert equal(found.model, plain.model)
        for name, value in plain.model.items():
            torch.testing.assert_close(found.model[name], value, rtol=0, atol=1e-6)
    worker, start = Worker(small()), global_model(small())
    assert not equal(train(worker, 0, start, client_class=FedNTD).model, train(worker, 0, start).model)


@pytest.mark.parametrize("policy", ["average", "local"])
def test_the_teacher_has_batch_norm_statistics_of_the_client_if_they_are_local(
    policy: str, batch_norm_model: str
) -> None:
    worker = Worker(small(model__name=batch_norm_model, batch_norm__policy=policy))
    start = global_model(worker.config)
    first = train(worker, 0, start)
    client = FedNTD(worker, 0, dict(first.state))
    inputs, targets = worker.normalizer(worker.train.inputs[:8]), worker.train.targets[:8]
    found = logits_of_teacher(client, start, Batch(inputs, targets, targets))
    own = {name: value for name, value in first.model.items() if name in worker.buffers}
    expected = []
    for statistics in ({}, own):
        worker.load({**start, **statistics})
        expected.append(worker.model.eval()(inputs))
    assert not torch.allclose(*expected)
    torch.testing.assert_close(found, expected[policy == "local"])
