"""The Euclidean norm over all tensors of a section."""

import torch

from common.records import Tensors


def squared_norm(section: Tensors) -> torch.Tensor:
    """Return the sum of the squares of all elements, a scalar in float64."""
    squares = [value.double().square().sum() for value in section.values()]
    return torch.stack(squares).sum() if squares else torch.zeros((), dtype=torch.float64)


def norm(section: Tensors) -> torch.Tensor:
    """Return the l2 norm of all elements, a scalar in float64."""
    return squared_norm(section).sqrt()
