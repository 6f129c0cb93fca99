"""LARS: steps by hand (float64), and what its formula leaves unchanged."""

from typing import Any, ClassVar

import pytest
import torch

from clients.local.optimizers.lars import LARS
from tests.clients.local.optimizers.by_hand import Vector, W, near, steps

ADAPT_NOT: dict[str, Any] = {"adapt": False, "weight_decay": 0.0}


class TestLARS:
    options: ClassVar[dict[str, float]] = {"lr": 1.0, "momentum": 0.9, "trust_coefficient": 0.001}
    gradients: ClassVar[list[Vector]] = [(0.6, 0.8), (0.3, -0.4)]

    def test_two_steps(self) -> None:
        path, optimizer = steps(LARS, self.gradients, weight_decay=0.01, **self.options)
        assert path == [near([2.997, 3.996]), near([2.991303, 3.9956701151])]
        (state,) = optimizer.state.values()
        assert state["momentum_buffer"].tolist() == near([0.005697, 0.0003298849])

    @pytest.mark.parametrize("scale", [1, 7.0])
    def test_without_decay_the_first_step_ignores_the_scale_of_the_gradient(self, scale: float) -> None:
        path, _ = steps(LARS, [(0.6 * scale, 0.8 * scale)], **self.options)
        assert path == [near([2.997, 3.996])]

    def test_without_decay_the_first_step_scales_with_the_weights(self) -> None:
        path, _ = steps(LARS, [(0.6, 0.8)], start=(30.0, 40.0), **self.options)
        assert path == [near([29.97, 39.96])]

    def test_the_rate_is_in_the_buffer(self) -> None:
        """A later rate does not change the share of earlier gradients in a step."""
        w = torch.tensor(W, dtype=torch.float64, requires_grad=True)
        optimizer = LARS([w], **self.options)
        w.grad = torch.tensor((0.6, 0.8), dtype=torch.float64)
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 0.0
        optimizer.step()
        assert w.tolist() == near([2.997 - 0.9 * 0.003, 3.996 - 0.9 * 0.004])

    @pytest.mark.parametrize(("start", "gradient"), [((0.0, 0.0), (0.6, 0.8)), (W, (0.0, 0.0))])
    def test_a_zero_norm_scales_by_one(self, start: Vector, gradient: Vector) -> None:
        path, _ = steps(LARS, [gradient], start=start, weight_decay=0.1, **self.options)
        expected = [w - (g + 0.1 * w) for w, g in zip(start, gradient, strict=True)]
        assert path == [near(expected)]

    def test_every_tensor_has_its_own_ratio_and_excluded_ones_none(self) -> None:
        first, second, bias = (torch.tensor(W, dtype=torch.float64) * factor for factor in (1, 100, 1))
        params = [first, second, bias]
        groups = [{"params": [first, second]}, {"params": [bias], **ADAPT_NOT}]
        for param in params:
            param.grad = torch.tensor((0.6, 0.8), dtype=torch.float64)
        LARS(groups, weight_decay=0.01, **self.options).step()
        expected = []
        for param in (torch.tensor(W, dtype=torch.float64), 100 * torch.tensor(W, dtype=torch.float64)):
            grad = torch.tensor((0.6, 0.8), dtype=torch.float64)
            lam = 0.001 * param.norm() / (grad.norm() + 0.01 * param.norm())
            expected.append((param - lam * (grad + 0.01 * param)).tolist())
        assert [first.tolist(), second.tolist()] == [near(value) for value in expected]
        assert bias.tolist() == near([2.4, 3.2])
