"""One clipped step from w = (1, -2) with gradient (3, 4) and learning rate 0.1."""

import pytest
import torch

from tests.methods.quadratics import Federation


@pytest.mark.parametrize(
    ("clip_norm", "decay", "expected"),
    [
        (10.0, 0.0, (0.7, -2.4)),
        (2.5, 0.0, (0.85, -2.2)),
        (2.5, 0.5, (0.810186, -2.162698)),
        (1e9, 0.5, (0.65, -2.3)),
    ],
)
@pytest.mark.parametrize("exclude", ["none", "norm-bias"])
def test_the_clipped_step_includes_weight_decay(
    clip_norm: float, decay: float, expected: tuple[float, float], exclude: str
) -> None:
    """A vector counts as a bias: without decay its steps are those for a decay of 0."""
    local = {"local.lr": 0.1, "local.clip-norm": clip_norm, "local.weight-decay": decay}
    local |= {"local.clip-decay": True, "local.weight-decay-exclude": exclude}
    if exclude == "norm-bias" and decay:
        expected = (0.85, -2.2) if clip_norm == 2.5 else (0.7, -2.4)
    start, target = [1.0, -2.0], (-2.0, -6.0)
    found = Federation("fedavg", [(1.0, target)], [1], start, local=local).round()
    assert found == pytest.approx(expected, abs=1e-6)


def test_every_clipped_step_is_as_long() -> None:
    local = {"local.lr": 0.1, "local.clip-norm": 1e-4, "local.weight-decay": 0.5, "local.clip-decay": True}
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = Federation("fedavg", [(1.0, (-2.0, -6.0))], [1], start.tolist(), local=local).round()
    assert float(torch.dist(torch.tensor(found, dtype=torch.float64), start)) == pytest.approx(1e-5, rel=1e-5)
