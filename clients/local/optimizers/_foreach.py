"""Optimisers that step lists of tensors with torch's foreach operations: a few kernels for all of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch


def norms(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the l2 norm of each tensor, shape (tensors,)."""
    return torch.stack(list(torch._foreach_norm(list(tensors))))


def scale_(tensors: Sequence[torch.Tensor], factors: torch.Tensor) -> None:
    """Multiply each tensor by its own factor in place; `factors` has shape (tensors,)."""
    torch._foreach_mul_(list(tensors), list(factors.unbind()))


class ForeachOptimizer(torch.optim.Optimizer):
    """Steps all parameters of a group at once, in ``_step``."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step; parameters without a gradient, and their state, do not change."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if params:
                self._step(params, [param.grad for param in params], group)
        return loss

    def _step(self, params: list[torch.Tensor], grads: list[torch.Tensor], group: dict[str, Any]) -> None:
        raise NotImplementedError
