"""FedProx with a penalty by the distance: its gradient and its value, beside those of FedProx."""

import pytest
import torch

from clients.base import Client
from tests.methods.quadratics import LR, Federation

ZERO = torch.zeros(2, dtype=torch.float64)
END = torch.tensor([1.0, 2.0], dtype=torch.float64)


def at_zero(method: str, mu: float) -> Client:
    client: Client = Federation(method, [(0.0, 0.0)], [1], start=[0.0], local=LR, mu=mu).clients[0]
    client.received, client.params = {"arrays": {"w": ZERO}}, {"w": ZERO}
    return client


@pytest.mark.parametrize("mu", [0.01, 1.0, 50.0])
def test_the_first_step_has_no_distance_yet(mu: float) -> None:
    quadratics = [(1.0, 1.0), (3.0, -1.0)]
    plain = Federation("fedavg", quadratics, [1, 1], local=LR)
    proximal = Federation("fedprox-norm", quadratics, [1, 1], local=LR, mu=mu)
    for _ in range(4):
        assert proximal.round() == plain.round()


@pytest.mark.parametrize(
    ("method", "expected"), [("fedprox-norm", (0.00447214, 0.00894427)), ("fedprox", (0.01, 0.02))]
)
def test_the_gradient(method: str, expected: tuple[float, float]) -> None:
    client = at_zero(method, 0.01)
    assert client.correct_gradients({"w": END}, {"w": ZERO})["w"].tolist() == pytest.approx(
        expected, abs=1e-8
    )
    assert client.correct_gradients({"w": ZERO}, {"w": ZERO})["w"].tolist() == [0.0, 0.0]


def test_it_is_right_where_squares_underflow() -> None:
    client = at_zero("fedprox-norm", 0.5)
    client.received = {"arrays": {"w": torch.tensor([0.0, 0.0])}}
    for distance in (1e-25, 1e-20, 1.0, 1e25):
        params = {"w": distance * torch.tensor([3.0, 4.0])}
        grads = client.correct_gradients(params, {"w": torch.zeros(2)})
        assert grads["w"].dtype == torch.float32
        assert grads["w"].tolist() == pytest.approx([0.3, 0.4], rel=1e-5)


@pytest.mark.parametrize(("method", "value"), [("fedprox-norm", 0.0223607), ("fedprox", 0.025)])
def test_the_penalty_is_the_integral_of_its_gradient(method: str, value: float) -> None:
    client = at_zero(method, 0.01)
    # From x to w along a line; the midpoint rule is exact for both penalties.
    gradients = [
        client.correct_gradients({"w": t * END}, {"w": ZERO})["w"] for t in (0.125, 0.375, 0.625, 0.875)
    ]
    assert sum(float(gradient @ END) / 4 for gradient in gradients) == pytest.approx(value, abs=1e-6)
