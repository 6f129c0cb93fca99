"""FedNova in closed form, in float64."""

import pytest

from clients.local.step_weights import step_weight_norm
from tests.methods.quadratics import LR, Federation, close


@pytest.mark.parametrize(
    ("counts", "local", "parameters", "expected"),
    [
        ([1, 1], {}, {}, -0.115425),
        ([100, 300], {}, {}, -0.36824375),
        ([100, 300], {"optimizer.momentum": 0.9}, {}, -0.7814543189),
        (
            [100, 300],
            {"optimizer.momentum": 0.9},
            {"effective_steps": "steps"},
            -0.7814543189 / 7.51175 * 3.5,
        ),
    ],
)
def test_fednova(
    counts: list[int], local: dict[str, float], parameters: dict[str, str], expected: float
) -> None:
    quadratics = [(1.0, 1.0), (1.0, -2.0)]
    federation = Federation("fednova", quadratics, [2, 4], counts=counts, local={**LR, **local}, **parameters)
    assert federation.round() == close(expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fednova_with_equal_work_is_fedavg(momentum: float) -> None:
    local = {**LR, "optimizer.momentum": momentum}
    quadratics, counts = [(1.0, 1.0), (2.0, -3.0)], [1, 4]
    nova = Federation("fednova", quadratics, [3, 3], counts=counts, local=local)
    average = Federation("fedavg", quadratics, [3, 3], counts=counts, local=local)
    for _ in range(3):
        assert nova.round() == pytest.approx(average.round(), abs=1e-12)


def test_server_momentum() -> None:
    """D = 1.5 (0.095 (x - 1) + 0.085975 (x + 2)), and u <- 0.5 u + D / lr while lr is 0.1."""
    quadratics = [(1.0, 1.0), (1.0, -2.0)]
    federation = Federation("fednova", quadratics, [2, 4], local=LR, server_momentum=0.5)
    first = -0.115425
    slope = 1.5 * (0.095 + 0.085975)  # D = 0.115425 + slope x
    second = first - (0.5 * 0.115425 + 0.115425 + slope * first)
    assert federation.round() == close(first)
    assert federation.round() == close(second)


def test_server_momentum_with_equal_work_is_that_of_slowmo_at_any_rate() -> None:
    """Its velocity is in units of gradients: it shrinks with the learning rate, as FedAvgM's does not."""
    course = {**LR, "schedule.name": "step", "schedule.step-rounds": 2, "schedule.gamma": 0.1}
    quadratics = [(1.0, 1.0), (2.0, -3.0)]
    nova = Federation("fednova", quadratics, [3, 3], local=course, server_momentum=0.6)
    slow = Federation("slowmo", quadratics, [3, 3], local=course, slow_momentum=0.6)
    for _ in range(6):
        assert nova.round() == pytest.approx(slow.round(), abs=1e-12)


def test_step_weight_norms() -> None:
    momentum = [step_weight_norm(tau, momentum=0.9) for tau in (1, 2, 3, 4)]
    assert momentum == pytest.approx([1, 2.9, 5.61, 9.049], abs=1e-12)
    # The recursion against the closed form (tau - rho (1 - rho^tau) / (1 - rho)) / (1 - rho).
    nesterov = [step_weight_norm(tau, momentum=0.9, nesterov=True) for tau in (1, 2, 3)]
    assert nesterov == pytest.approx([1.9, 1.9 + 2.71, 1.9 + 2.71 + 3.439], abs=1e-12)
    ten = step_weight_norm(10, momentum=0.9)
    assert ten == pytest.approx(41.381, abs=1e-3)
    assert ten == pytest.approx((10 - 0.9 * (1 - 0.9**10) / 0.1) / 0.1, abs=1e-12)
    assert step_weight_norm(3, damping=0.05) == pytest.approx(2.8525, abs=1e-12)
    assert step_weight_norm(4, damping=0.05) == pytest.approx(3.709875, abs=1e-12)


def test_mu_zero_is_fedavg() -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0)]
    plain = Federation("fedavg", quadratics, [3, 3], local=LR)
    other = Federation("fednova", quadratics, [3, 3], local=LR, mu=0.0)
    for _ in range(4):
        assert other.round() == pytest.approx(plain.round(), abs=1e-12)
