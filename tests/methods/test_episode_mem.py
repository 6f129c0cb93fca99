"""EPISODE with remembered gradients, and SCAFFOLD with clipping: steps by hand, and what is remembered."""

import pytest
import torch

from common.sections import Value
from tests.methods.quadratics import LR, Federation

OWN = (3.0, 2.0)  # L_i; the gradient is (3, 4)


def one_step(
    norm: float, clip_norm: float, clip_by: str, decay: float = 0.0
) -> tuple[list[float], Federation]:
    """Step from w = (1, -2) with G = (norm, 0)."""
    local: dict[str, Value] = {**LR, "optimizer.weight-decay": decay}
    federation = Federation(
        "episode-mem",
        [(1.0, (-2.0, -6.0))],
        [1],
        [1.0, -2.0],
        local=local,
        clip_norm=clip_norm,
        clip_by=clip_by,
    )
    own = torch.tensor(OWN, dtype=torch.float64)
    federation.strategy.control = {"w": torch.tensor([norm, 0.0], dtype=torch.float64)}  # type: ignore[attr-defined]
    federation.clients[0].state = {"control": {"w": own}}
    return federation.round(), federation


@pytest.mark.parametrize(
    ("norm", "clip_norm", "clip_by", "expected"),
    [
        (2.0, 2.5, "control", (0.8, -2.2)),  # d = (2, 2) is longer, but G is not
        (2.0, 2.5, "step", (1 - 0.25 / 2**0.5, -2 - 0.25 / 2**0.5)),
        (3.0, 2.5, "control", (1 - 0.25 * 3 / 13**0.5, -2 - 0.25 * 2 / 13**0.5)),  # d = (3, 2)
        (0.5, 0.4, "control", (1 - 0.04 * 0.5 / 4.25**0.5, -2 - 0.04 * 2 / 4.25**0.5)),
        (3.0, 4.0, "step", (0.7, -2.2)),
        (3.0, 0.0, "control", (0.7, -2.2)),
    ],
)
def test_a_step(norm: float, clip_norm: float, clip_by: str, expected: tuple[float, float]) -> None:
    w, federation = one_step(norm, clip_norm, clip_by)
    assert w == pytest.approx(expected, abs=1e-9)
    remembered = federation.clients[0].state["control"]["w"]
    assert remembered.tolist() == [3.0, 4.0]  # the gradient, whatever was clipped
    control = federation.strategy.control["w"]  # type: ignore[attr-defined]
    assert torch.as_tensor(control).tolist() == pytest.approx([norm, 2.0])  # G + (3, 4) - L_i


def test_weight_decay_is_in_the_norm_and_in_the_step_and_not_in_what_is_remembered() -> None:
    w, federation = one_step(2.0, 2.5, "step", decay=0.5)
    # d = (2, 2) + 0.5 (1, -2) = (2.5, 1)
    size = (2.5**2 + 1) ** 0.5
    assert w == pytest.approx((1 - 0.25 * 2.5 / size, -2 - 0.25 / size), abs=1e-9)
    assert federation.clients[0].state["control"]["w"].tolist() == [3.0, 4.0]


def test_while_there_is_no_control_steps_are_clipped_by_their_own_norm() -> None:
    federation = Federation("episode-mem", [(1.0, (-2.0, -6.0))], [1], [1.0, -2.0], local=LR, clip_norm=2.5)
    assert federation.round() == pytest.approx((0.85, -2.2), abs=1e-9)  # d = (3, 4), of length 5
