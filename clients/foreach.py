"""Vector operations over lists of tensors, for optimisers: a few kernels for all of them, and no waiting."""

from collections.abc import Sequence

import torch


def norms(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the l2 norm of each tensor, shape (tensors,)."""
    return torch.stack(list(torch._foreach_norm(list(tensors))))


def scale_(tensors: Sequence[torch.Tensor], factors: torch.Tensor) -> None:
    """Multiply each tensor by its own factor in place; `factors` has shape (tensors,)."""
    torch._foreach_mul_(list(tensors), list(factors.unbind()))
