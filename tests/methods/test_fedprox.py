"""FedProx: the proximal term in closed form, in float64."""

import pytest
import torch

from tests.methods.quadratics import LR, Federation, close


def test_fedprox_pulls_towards_the_global_model() -> None:
    for steps, expected in ((1, 2.3), (2, 2.555), (3, 2.77175)):
        federation = Federation("fedprox", [(1, 5)], [steps], start=[2.0], local=LR, mu=0.5)
        assert federation.round() == close(expected)


@pytest.mark.parametrize(("mu", "expected"), [(0.0, (-0.16, -0.264)), (1.0, (-0.15, -0.2505))])
def test_fedprox_on_two_quadratics(mu: float, expected: tuple[float, float]) -> None:
    federation = Federation("fedprox", [(1.0, 1.0), (3.0, -1.0)], [2, 2], local=LR, mu=mu)
    assert [federation.round()[0] for _ in range(2)] == close(*expected)


@pytest.mark.parametrize("mu", [0.01, 1.0, 50.0])
def test_the_first_step_of_fedprox_has_no_distance_yet(mu: float) -> None:
    quadratics = [(1.0, 1.0), (3.0, -1.0)]
    plain = Federation("fedavg", quadratics, [1, 1], local=LR)
    proximal = Federation("fedprox", quadratics, [1, 1], local=LR, mu=mu)
    for _ in range(4):
        assert proximal.round() == plain.round()


def test_fedprox_gradient_is_mu_times_the_distance() -> None:
    federation = Federation("fedprox", [(0, 0)], [1], start=[0.0, 0.0], mu=0.3)
    client = federation.clients[0]
    client.received = {"arrays": {"w": torch.tensor([1.0, 1.0], dtype=torch.float64)}}
    params = {"w": torch.tensor([4.0, -3.0], dtype=torch.float64)}
    grads = client.correct_gradients(params, {"w": torch.zeros(2, dtype=torch.float64)})
    assert grads["w"].tolist() == pytest.approx([0.9, -1.2])


def test_mu_zero_is_fedavg_bit_for_bit() -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0)]
    plain = Federation("fedavg", quadratics, [3, 3], local=LR)
    other = Federation("fedprox", quadratics, [3, 3], local=LR, mu=0.0)
    for _ in range(4):
        assert other.round() == pytest.approx(plain.round(), abs=0)
