"""LAMB: layer-wise adaptive moments for large batches (You et al. 2020, ICLR, Algorithm 2)."""

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from pydantic import Field

from clients.local.eager import eager
from clients.local.optimizers._foreach import ForeachOptimizer, norms, scale_
from clients.local.optimizers._groups import Exclude, parameter_groups


class LAMB(ForeachOptimizer):
    """Adam's direction with decoupled decay, scaled for every tensor w to the norm of w.

    r = m_hat / (sqrt(v_hat) + eps) + wd w; w <- w - lr ||w|| / ||r|| r, where the ratio is 1 if a norm is
    zero. phi of the paper is the identity.

    Parameters
    ----------
    params : iterable
        Tensors or groups of them. A group with ``adapt = False`` is not scaled: the ratio is 1.
    lr : float
        Global rate.
    betas : tuple of float
        Decay of the first and of the second moment.
    eps : float, default 1e-6
        Added to the root of the second moment.
    weight_decay : float, default 0.01
        Decoupled decay, inside the scaled direction.
    bias_correction : bool, default True
        Divide the moments by 1 - beta^t, as the paper; its first version on arXiv does not.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        bias_correction: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "bias_correction": bias_correction,
            "adapt": True,
        }
        super().__init__(params, defaults)

    def _step(self, params: list[torch.Tensor], grads: list[torch.Tensor], group: dict[str, Any]) -> None:
        states = [self._state_of(param) for param in params]
        first = [state["exp_avg"] for state in states]
        second = [state["exp_avg_sq"] for state in states]
        beta1, beta2 = group["betas"]
        torch._foreach_add_([state["step"] for state in states], 1)
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, value=1 - beta2)
        steps = [int(state["step"]) for state in states]  # of tensors on the CPU: no waiting for a GPU
        corrects = group["bias_correction"]
        roots = list(torch._foreach_sqrt(second))
        if corrects:
            torch._foreach_div_(roots, [(1 - beta2**step) ** 0.5 for step in steps])
        torch._foreach_add_(roots, group["eps"])
        changes = list(torch._foreach_div(first, roots))
        if corrects:
            torch._foreach_div_(changes, [1 - beta1**step for step in steps])
        torch._foreach_add_(changes, params, alpha=group["weight_decay"])
        if group["adapt"]:
            of_params, of_changes = norms(params), norms(changes)
            ratios = of_params / of_changes
            scale_(changes, torch.where((of_params > 0) & (of_changes > 0), ratios, 1.0))
        torch._foreach_add_(params, changes, alpha=-group["lr"])

    def _state_of(self, param: torch.Tensor) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = self.state[param]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
        return state


def build(
    parameters: Iterable[torch.Tensor],
    learning_rate: float,
    *,
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999,
    epsilon: Annotated[float, Field(gt=0, le=1e6)] = 1e-6,
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.0,
    weight_decay_exclude: Exclude = "norm-bias",
    bias_correction: bool = True,
) -> torch.optim.Optimizer:
    """Build LAMB; weight decay is decoupled."""
    return eager(LAMB)(
        parameter_groups(parameters, weight_decay_exclude),
        lr=learning_rate,
        betas=(beta1, beta2),
        eps=epsilon,
        weight_decay=weight_decay,
        bias_correction=bias_correction,
    )
