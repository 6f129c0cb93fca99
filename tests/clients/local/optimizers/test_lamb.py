"""LAMB: steps by hand (float64), and what its formula leaves unchanged."""

from typing import Any, ClassVar

import pytest
import torch

from clients.local.optimizers.lamb import LAMB
from tests.clients.local.optimizers.by_hand import Vector, W, near, steps

ADAPT_NOT: dict[str, Any] = {"adapt": False, "weight_decay": 0.0}


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
