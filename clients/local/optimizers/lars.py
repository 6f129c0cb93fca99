"""LARS: layer-wise adaptive rate scaling for large batches (You, Gitman and Ginsburg 2017)."""

from collections.abc import Iterable
from typing import Annotated, Any

import torch
from pydantic import Field

from clients.local.eager import eager
from clients.local.optimizers._foreach import ForeachOptimizer, norms, scale_
from clients.local.optimizers._groups import Exclude, parameter_groups


class LARS(ForeachOptimizer):
    """SGD with momentum whose rate is scaled for every tensor w with gradient g (Algorithm 1 of the paper).

    lam = trust ||w|| / (||g|| + wd ||w|| + eps), or 1 if a norm is zero;
    v <- momentum v + lr lam (g + wd w); w <- w - v. The rate is inside the buffer, as in the paper, so the
    momentum of earlier steps keeps the rate of those steps.

    Parameters
    ----------
    params : iterable
        Tensors or groups of them. A group with ``adapt = False`` is not scaled: lam is 1.
    lr : float
        Global rate; with the default trust coefficient, useful values are about 1 to 30.
    momentum, weight_decay : float
        As in SGD; the decay is added to the gradient, and enters the denominator of lam.
    trust_coefficient : float, default 0.001
        The fraction of its own norm by which a tensor may move in a step of rate 1.
    eps : float, default 0
        Added to the denominator.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        eps: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "eps": eps,
            "adapt": True,
        }
        super().__init__(params, defaults)

    def _step(self, params: list[torch.Tensor], grads: list[torch.Tensor], group: dict[str, Any]) -> None:
        for param in params:
            if "momentum_buffer" not in self.state[param]:
                self.state[param]["momentum_buffer"] = torch.zeros_like(param)
        buffers = [self.state[param]["momentum_buffer"] for param in params]
        decay = group["weight_decay"]
        changes = list(torch._foreach_add(grads, params, alpha=decay))
        torch._foreach_mul_(changes, group["lr"])
        if group["adapt"]:
            of_params, of_grads = norms(params), norms(grads)
            ratios = group["trust_coefficient"] * of_params / (of_grads + decay * of_params + group["eps"])
            scale_(changes, torch.where((of_params > 0) & (of_grads > 0), ratios, 1.0))
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, changes)
        torch._foreach_sub_(params, buffers)


def build(
    parameters: Iterable[torch.Tensor],
    learning_rate: float,
    *,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.0,
    weight_decay_exclude: Exclude = "norm-bias",
    clip_decay: bool = False,
    trust_coefficient: Annotated[float, Field(gt=0, le=1e6)] = 0.001,
    epsilon: Annotated[float, Field(ge=0, le=1e6)] = 0.0,
) -> torch.optim.Optimizer:
    """Build LARS; weight decay is added to the gradient."""
    return eager(LARS)(
        parameter_groups(parameters, weight_decay_exclude, clip_decay),
        lr=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        trust_coefficient=trust_coefficient,
        eps=epsilon,
    )
