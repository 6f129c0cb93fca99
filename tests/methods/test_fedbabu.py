"""FedBABU: the head stays as it was."""

import pytest
import torch

from tests.methods.federation import LossFederation
from tests.methods.personal import Product, target
from tests.methods.quadratics import LR


def test_momentum_and_decay_do_not_move_what_is_frozen() -> None:
    local = {**LR, "optimizer.momentum": 0.9, "optimizer.weight-decay": 0.5}
    federation = LossFederation("fedbabu", [target(2.0)], [4], Product, local=local)
    federation.run_round()
    assert federation.model["classifier.a"].item() == 0.5
    assert all(value.requires_grad for value in federation.clients[0].worker.parameters.values())


def test_the_schedule_does_not_slow_down_fine_tuning() -> None:
    """Loss (a b - 2)^2 / 2: five steps of the head at lr 0.1 take its distance from 2 / b to 0.9^5 of it."""
    cosine = {**LR, "schedule.name": "cosine", "rounds": 100}
    federation = LossFederation("fedbabu", [target(2.0)], [1], Product, local=cosine)
    client = federation.clients[0]
    federation.server_round = 99
    federation.run_round()
    assert client.learning_rate < 1e-4
    client.worker.load({"body.b": torch.tensor(1.0, dtype=torch.float64)})
    assert client.personal_model()["classifier.a"].item() == pytest.approx(2 - 1.5 * 0.9**5, abs=1e-9)
    assert client.learning_rate < 1e-4
