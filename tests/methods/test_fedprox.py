"""FedProx: the proximal term in closed form, in float64."""

import pytest
import torch

from clients.base import Client
from tests.methods.quadratics import LR, Federation, close


def test_fedprox_pulls_towards_the_global_model() -> None:
    for steps, expected in ((1, 2.3), (2, 2.555), (3, 2.77175)):
        federation = Federation("fedprox", [(1, 5)], [steps], start=[2.0], local=LR, mu=0.5)
        assert federation.round() == close(expected)


@pytest.mark.parametrize(("mu", "expected"), [(0.0, (-0.16, -0.264)), (1.0, (-0.15, -0.2505))])
def test_fedprox_on_two_quadratics(mu: float, expected: tuple[float, float]) -> None:
    federation = Federation("fedprox", [(1.0, 1.0), (3.0, -1.0)], [2, 2], local=LR, mu=mu)
    assert [federation.round()[0] for _ in range(2)] == close(*expected)


@pytest.mark.parametrize("form", ["squared", "norm"])
@pytest.mark.parametrize("mu", [0.01, 1.0, 50.0])
def test_the_first_step_of_fedprox_has_no_distance_yet(mu: float, form: str) -> None:
    quadratics = [(1.0, 1.0), (3.0, -1.0)]
    plain = Federation("fedavg", quadratics, [1, 1], local=LR)
    proximal = Federation("fedprox", quadratics, [1, 1], local=LR, mu=mu, form=form)
    for _ in range(4):
        assert proximal.round() == plain.round()


def test_fedprox_gradient_is_mu_times_the_distance() -> None:
    federation = Federation("fedprox", [(0, 0)], [1], start=[0.0, 0.0], mu=0.3)
    client = federation.clients[0]
    client.received = {"arrays": {"w": torch.tensor([1.0, 1.0], dtype=torch.float64)}}
    params = {"w": torch.tensor([4.0, -3.0], dtype=torch.float64)}
    grads = client.correct_gradients(params, {"w": torch.zeros(2, dtype=torch.float64)})
    assert grads["w"].tolist() == pytest.approx([0.9, -1.2])


def test_fedprox_with_the_norm_is_right_where_squares_underflow() -> None:
    federation = Federation("fedprox", [(0, 0)], [1], start=[0.0], mu=0.5, form="norm")
    client = federation.clients[0]
    for distance in (1e-25, 1e-20, 1.0, 1e25):
        client.received = {"arrays": {"w": torch.tensor([0.0, 0.0])}}
        params = {"w": distance * torch.tensor([3.0, 4.0])}
        grads = client.correct_gradients(params, {"w": torch.zeros(2)})
        assert grads["w"].tolist() == pytest.approx([0.3, 0.4], rel=1e-5)


def test_mu_zero_is_fedavg_bit_for_bit() -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0)]
    plain = Federation("fedavg", quadratics, [3, 3], local=LR)
    other = Federation("fedprox", quadratics, [3, 3], local=LR, mu=0.0)
    for _ in range(4):
        assert other.round() == pytest.approx(plain.round(), abs=0)


def test_fedprox_with_the_unsquared_norm() -> None:
    federation = Federation("fedprox", [(0.0, 0.0)], [1], start=[0.0], local=LR, mu=0.01, form="norm")
    client: Client = federation.clients[0]
    client.received = {"arrays": {"w": torch.zeros(2, dtype=torch.float64)}}
    client.params = {"w": torch.zeros(2, dtype=torch.float64)}
    zero = {"w": torch.zeros(2, dtype=torch.float64)}
    params = {"w": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    assert client.correct_gradients(params, zero)["w"].tolist() == pytest.approx(
        [0.004472, 0.008944], abs=1e-6
    )
    assert client.correct_gradients(zero, zero)["w"].tolist() == [0.0, 0.0]
    client.form = "squared"  # type: ignore[attr-defined]
    assert client.correct_gradients(params, zero)["w"].tolist() == pytest.approx([0.01, 0.02])


@pytest.mark.parametrize(("form", "value"), [("norm", 0.0223607), ("squared", 0.025)])
def test_the_proximal_term_is_the_integral_of_its_gradient(form: str, value: float) -> None:
    federation = Federation("fedprox", [(0.0, 0.0)], [1], start=[0.0], local=LR, mu=0.01, form=form)
    client: Client = federation.clients[0]
    zero, end = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    client.received, client.params = {"arrays": {"w": zero}}, {"w": zero}
    # From w_g to w along a line; the midpoint rule is exact for both forms.
    gradients = [
        client.correct_gradients({"w": t * end}, {"w": zero})["w"] for t in (0.125, 0.375, 0.625, 0.875)
    ]
    assert sum(float(gradient @ end) / 4 for gradient in gradients) == pytest.approx(value, abs=1e-6)
