"""The norm over all tensors of a section."""

import torch

from common.records import Tensors


def norm(section: Tensors) -> torch.Tensor:
    """Return the l2 norm, a scalar in float64."""
    return torch.stack([value.double().pow(2).sum() for value in section.values()]).sum().sqrt()
