"""Steps of an optimiser on given gradients."""

from typing import Any

import pytest
import torch

Vector = tuple[float, float]


W = (3.0, 4.0)


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
