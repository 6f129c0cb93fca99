import pytest
import torch

from common.sections import Value
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
    local = {
        "optimizer.learning-rate": 0.1,
        "optimizer.clip-norm": clip_norm,
        "optimizer.weight-decay": decay,
    }
    local |= {"optimizer.clip-decay": True, "optimizer.weight-decay-exclude": exclude}
    if exclude == "norm-bias" and decay:
        expected = (0.85, -2.2) if clip_norm == 2.5 else (0.7, -2.4)
    start, target = [1.0, -2.0], (-2.0, -6.0)
    found = Federation("fedavg", [(1.0, target)], [1], start, local=local).round()
    assert found == pytest.approx(expected, abs=1e-6)


def test_every_clipped_step_is_as_long() -> None:
    local = {
        "optimizer.learning-rate": 0.1,
        "optimizer.clip-norm": 1e-4,
        "optimizer.weight-decay": 0.5,
        "optimizer.clip-decay": True,
    }
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = Federation("fedavg", [(1.0, (-2.0, -6.0))], [1], start.tolist(), local=local).round()
    assert float(torch.dist(torch.tensor(found, dtype=torch.float64), start)) == pytest.approx(1e-5, rel=1e-5)


@pytest.mark.parametrize(
    ("start", "clip_norm", "expected"), [(5.0, 10.0, 0.0), (5.0, 5.0, 0.0), (4.2, 4.0, 0.5), (5.0, 1.0, 1.0)]
)
def test_the_share_of_clipped_steps_is_told(start: float, clip_norm: float, expected: float) -> None:
    """The gradient is w: from 4.2 the first step is clipped, and from 3.8 the second is not."""
    local: dict[str, Value] = {"optimizer.learning-rate": 0.1, "optimizer.clip-norm": clip_norm}
    federation = Federation("fedavg", [(1.0, 0.0)], [2], [start], local=local)
    federation.round()
    assert federation.clients[0].training_metrics["train_clipped_fraction"] == expected
