"""LARS and LAMB: steps by hand (float64), and what their formulas leave unchanged."""

from typing import Any, ClassVar

import pytest
import torch

from clients.local.optimizers.lamb import LAMB
from clients.local.optimizers.lars import LARS

Vector = tuple[float, float]
W = (3.0, 4.0)
ADAPT_NOT: dict[str, Any] = {"adapt": False, "weight_decay": 0.0}


def steps(
    cls: type[torch.optim.Optimizer], gradients: list[Vector], *, start: Vector = W, **options: Any
) -> tuple[list[list[float]], torch.optim.Optimizer]:
    """Return the weights after each step."""
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = cls([w], **options)
    path = []
    for gradient in gradients:
        w.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        path.append(w.tolist())
    return path, optimizer


def near(value: Any) -> Any:
    return pytest.approx(value, abs=1e-9)


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


class TestLAMB:
    gradients: ClassVar[list[Vector]] = [(0.6, -0.8), (0.3, 0.4)]
    options: ClassVar[dict[str, float]] = {"lr": 0.1, "weight_decay": 0.01}

    def test_two_steps(self) -> None:
        path, _ = steps(LAMB, self.gradients, **self.options)
        assert path == [near([2.6342363293, 4.3409060533]), near([2.1396696431, 4.4559297767])]

    def test_without_bias_correction(self) -> None:
        path, _ = steps(LAMB, self.gradients[:1], bias_correction=False, **self.options)
        assert path == [near([2.6425513836, 4.3496147689])]

    def test_without_epsilon_steps_ignore_the_scale_of_the_gradient(self) -> None:
        path, _ = steps(LAMB, self.gradients, eps=0.0, **self.options)
        scaled, _ = steps(LAMB, [(9 * a, 9 * b) for a, b in self.gradients], eps=0.0, **self.options)
        assert scaled == [near(weights) for weights in path]

    def test_an_excluded_tensor_takes_adams_steps(self) -> None:
        w = torch.tensor(W, dtype=torch.float64, requires_grad=True)
        adam_w = w.detach().clone().requires_grad_()
        lamb = LAMB([{"params": [w], **ADAPT_NOT}], **self.options)
        adam = torch.optim.Adam([adam_w], lr=0.1, eps=1e-6)
        for gradient in self.gradients:
            w.grad = torch.tensor(gradient, dtype=torch.float64)
            adam_w.grad = w.grad.clone()
            lamb.step()
            adam.step()
        assert w.tolist() == near(adam_w.tolist())

    def test_zero_weights_are_not_scaled(self) -> None:
        path, _ = steps(LAMB, self.gradients[:1], start=(0.0, 0.0), **self.options)
        assert path == [pytest.approx([-0.1, 0.1], abs=1e-6)]

    def test_a_frozen_tensor_stays_and_its_steps_do_not_count(self) -> None:
        w = torch.tensor(W, dtype=torch.float64, requires_grad=True)
        frozen = torch.tensor(W, dtype=torch.float64, requires_grad=True)
        optimizer = LAMB([w, frozen], **self.options)
        w.grad = torch.tensor(self.gradients[1], dtype=torch.float64)
        optimizer.step()
        w.grad, frozen.grad = None, torch.tensor(self.gradients[0], dtype=torch.float64)
        optimizer.step()
        assert frozen.tolist() == near([2.6342363293, 4.3409060533])
