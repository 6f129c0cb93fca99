"""Adam with decoupled weight decay."""

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field

from clients.local.eager import eager
from clients.local.optimizers._groups import Exclude, parameter_groups

ELEMENTWISE = True  # steps of stacked tensors are those of each


def build(
    parameters: Iterable[torch.Tensor],
    learning_rate: float,
    *,
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999,
    epsilon: Annotated[float, Field(gt=0, le=1e6)] = 1e-8,
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.0,
    weight_decay_exclude: Exclude = "none",
) -> torch.optim.Optimizer:
    """Build AdamW (Loshchilov and Hutter 2019)."""
    return eager(torch.optim.AdamW)(
        parameter_groups(parameters, weight_decay_exclude),
        lr=learning_rate,
        betas=(beta1, beta2),
        eps=epsilon,
        weight_decay=weight_decay,
        fused=True,
    )
