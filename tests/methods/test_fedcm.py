"""FedCM in closed form, in float64."""

import pytest

from clients.fedcm import FedCM
from clients.local.worker import Worker
from common.errors import UserError
from common.sections import Value
from tests.clients.jobs import small
from tests.methods.quadratics import LR, Federation, close

TWO = [(1.0, 1.0), (2.0, -1.0)]


def momentum(federation: Federation) -> list[float]:
    return federation.strategy.momentum["w"].tolist()  # type: ignore[attr-defined, no-any-return]


def test_two_rounds() -> None:
    federation = Federation("fedcm", TWO, [2, 2], local=LR, alpha=0.5)
    assert federation.round() == close(-0.04625)
    assert momentum(federation) == close(0.23125)  # 0.04625 / (lr J)
    assert federation.round() == close(-0.108109375)
    assert [federation.replies[i]["w"].item() for i in (0, 1)] == close(0.0332125, -0.24943125)
    assert momentum(federation) == close(0.309296875)


def test_the_momentum_is_a_gradient_whatever_the_work_and_the_weights() -> None:
    """Where all clients have the same constant gradient, and alpha = 1, it is that gradient."""
    steep = [(1e-9, -3e9), (1e-9, -3e9)]
    for keys in ({}, {"weighting": "examples"}):
        federation = Federation("fedcm", steep, [1, 4], counts=[1, 6], local=LR, alpha=1.0, **keys)
        federation.round(corrections={0: 0.3, 1: 2.0})
        assert momentum(federation) == pytest.approx([3.0], abs=1e-6)
        federation.round([1])
        assert momentum(federation) == pytest.approx([3.0], abs=1e-6)


def test_the_server_rate_moves_the_model_alone() -> None:
    federation = Federation("fedcm", TWO, [2, 2], local=LR, alpha=0.5, server_learning_rate=2.0)
    assert federation.round() == close(-0.0925)
    assert momentum(federation) == close(0.23125)


def test_with_alpha_one_it_is_uniform_fedavg() -> None:
    mixed, average = (
        Federation("fedcm", TWO, [2, 3], local=LR, alpha=1.0),
        Federation("fedavg", TWO, [2, 3], local=LR),
    )
    for _ in range(3):
        assert mixed.round() == pytest.approx(average.round(), abs=1e-15)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_weight_decay_is_part_of_the_gradient(alpha: float) -> None:
    """So it is as strong as in FedAvg: h (w - b) + decay w = 0 at the end."""
    local: dict[str, Value] = {**LR, "optimizer.weight-decay": 0.5}
    federation = Federation("fedcm", [(2.0, 3.0)], [1], local=local, alpha=alpha)
    for _ in range(400):
        (w,) = federation.round()
    assert w == pytest.approx(2 * 3 / (2 + 0.5), abs=1e-6)
    assert momentum(federation) == pytest.approx([0.0], abs=1e-6)


def test_a_step_with_weight_decay() -> None:
    """g = (1 - 3) + 0.5 = -1.5 at w = 1; then alpha g + (1 - alpha) Delta."""
    local: dict[str, Value] = {**LR, "optimizer.weight-decay": 0.5}
    federation = Federation("fedcm", [(1.0, 3.0)], [1], start=[1.0], local=local, alpha=0.2)
    assert federation.round() == close(1 + 0.1 * 0.2 * 1.5)
    assert momentum(federation) == close(-0.3)
    direction = 0.2 * (1.03 - 3 + 0.5 * 1.03) - 0.8 * 0.3
    assert federation.round() == close(1.03 - 0.1 * direction)


def test_at_a_rate_of_zero_the_momentum_stays() -> None:
    decay = {"schedule.name": "step", "schedule.step-rounds": 1, "schedule.gamma": 1e-38}
    federation = Federation("fedcm", TWO, [2, 2], local={"optimizer.learning-rate": 1.0, **decay})
    moved = [(federation.round(), momentum(federation)) for _ in range(12)]
    assert moved[-1] == moved[-2]  # 1e-38 to the tenth is 0
    assert federation.strategy.momentum["w"].isfinite().all()  # type: ignore[attr-defined]


def test_momentum_of_the_optimiser_is_refused() -> None:
    with pytest.raises(UserError, match=r"'fedcm' has a momentum of its own"):
        FedCM(Worker(small(optimizer__momentum=0.9)), 0).validate()
