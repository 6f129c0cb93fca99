"""Stochastic gradient descent."""

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field

from clients.local.eager import eager
from clients.local.optimizers._groups import Exclude, parameter_groups
from common.errors import UserError

ELEMENTWISE = True  # steps of stacked tensors are those of each


def build(
    parameters: Iterable[torch.Tensor],
    learning_rate: float,
    *,
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    nesterov: bool = False,
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.0,
    weight_decay_exclude: Exclude = "none",
    clip_decay: bool = False,
) -> torch.optim.Optimizer:
    """Build SGD; weight decay is added to the gradient."""
    if nesterov and momentum == 0:
        raise UserError("optimizer.nesterov needs optimizer.momentum above 0")
    return eager(torch.optim.SGD)(
        parameter_groups(parameters, weight_decay_exclude, clip_decay),
        lr=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=True,
    )
