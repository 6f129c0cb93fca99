"""FedGKD: its term by hand, its buffer of models, and its relations."""

import math

import pytest
import torch
from torch.nn import functional as F

from clients._distillation import divergence
from clients.fedgkd import FedGKD
from clients.local.batches import Batch
from clients.local.worker import Worker
from tests.clients.jobs import equal, global_model, small, train
from tests.methods.quadratics import LR, Federation, close


def test_the_term_by_hand() -> None:
    student, teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[math.log(3), 0.0], [1.0, 0.0]])
    by_hand = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)) / 2  # the second row is equal
    targets = torch.tensor([1, 0])
    assert divergence(student, teacher, targets).item() == pytest.approx(by_hand, abs=1e-7)
    targets[1] = -100  # padding
    assert divergence(student, teacher, targets).item() == pytest.approx(2 * by_hand, abs=1e-7)


@pytest.mark.parametrize("cohorts", [[None] * 4, [[0], [1], [0, 1], [0]]])
def test_the_teacher_is_the_mean_of_the_last_models(cohorts: list[list[int] | None]) -> None:
    """Of the models that were sent, whoever took part, and whatever clients weigh."""
    federation = Federation(
        "fedgkd", [(1.0, 1.0), (2.0, -1.0)], [1, 1], counts=[1, 4], start=[2.0], local=LR, buffer_size=3
    )
    sent = []
    for cohort in cohorts:
        sent.append(federation.w.item())
        federation.round(cohort)
        received = federation.clients[(cohort or [0])[0]].received
        if len(sent) == 1:
            assert "teacher" not in received
        else:
            last = sent[-3:]
            assert received["teacher"]["w"].tolist() == close(sum(last) / len(last))


def test_a_buffer_of_one_sends_nothing_more() -> None:
    federation = Federation("fedgkd", [(1.0, 1.0)], [1], local=LR, buffer_size=1)
    for _ in range(3):
        federation.round()
        assert list(federation.clients[0].received) == ["arrays"]


def test_gamma_zero_is_fedavg() -> None:
    class NoTerm(FedGKD):
        gamma = 0.0

    config = small(optimizer__learning_rate=0.02)
    worker, start = Worker(config), global_model(config)
    plain = train(worker, 0, start)
    assert equal(train(worker, 0, start, client_class=NoTerm).model, plain.model)


def test_the_loss_of_a_batch() -> None:
    """The teacher has its own weights and is in evaluation mode."""
    worker = Worker(small(model__name="mlp"))
    start = global_model(worker.config)
    teacher = {name: 1.5 * value for name, value in start.items()}
    client = FedGKD(worker, 0, {}, {"gamma": 3.0})
    client.received = {"arrays": start, "teacher": teacher}
    inputs, targets = worker.normalizer(worker.train.inputs[:8]), worker.train.targets[:8]
    worker.load(teacher)
    expected = worker.model.eval()(inputs)
    worker.load(start)
    own = worker.model.eval()(inputs)
    loss = client.loss(client.params, Batch(inputs, targets, targets))
    by_hand = F.cross_entropy(own, targets) + 1.5 * divergence(own, expected, targets)
    torch.testing.assert_close(loss, by_hand)
