"""What the server optimisers have in common: two rounds in closed form, in float64, and rest."""

import torch

from common.sections import Value
from tests.methods.quadratics import Federation, close

Pair = tuple[float, float]


def check_two_rounds(method: str, first: Pair, second: Pair, **parameters: Value) -> None:
    """Compare the models after a mean change of (0.1, -0.2) and then of (0.05, 0.1).

    With a learning rate of 1 and one step on Q(1, b) the change is b - x.
    """
    local: dict[str, Value] = {"optimizer.learning-rate": 1.0}
    federation = Federation(method, [(1.0, (1.1, 0.8))], [1], start=[1.0, 1.0], local=local, **parameters)
    initial = federation.w.clone()
    assert federation.round() == close(*first)
    target = federation.w + torch.tensor([0.05, 0.1], dtype=torch.float64)
    federation.clients[0].loss = lambda params, batch: ((params["w"] - target) ** 2).sum() / 2  # type: ignore[method-assign]
    assert federation.round() == close(*second)
    assert initial.tolist() == [1.0, 1.0]


def check_rest(method: str) -> None:
    """Check that the model stays where no client moves."""
    federation = Federation(method, [(0.0, 0.0), (0.0, 0.0)], [1, 1], start=[1.0, -2.0])
    for _ in range(3):
        assert federation.round() == [1.0, -2.0]
