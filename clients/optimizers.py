"""Local optimisers by name."""

from collections.abc import Callable, Iterable

import torch

from common.config import LocalSection
from common.errors import unknown_name


def _sgd(parameters: Iterable[torch.Tensor], local: LocalSection) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=local.learning_rate,
        momentum=local.momentum,
        nesterov=local.nesterov,
        weight_decay=local.weight_decay,
        fused=True,
    )


def _adamw(parameters: Iterable[torch.Tensor], local: LocalSection) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=local.learning_rate, weight_decay=local.weight_decay, fused=True)


OPTIMIZERS: dict[str, Callable[[Iterable[torch.Tensor], LocalSection], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}


def make_optimizer(parameters: Iterable[torch.Tensor], local: LocalSection) -> torch.optim.Optimizer:
    """Build the optimiser ``local.optimizer``.

    Weight decay is added to the gradient (SGD) or decoupled (AdamW; Loshchilov and Hutter 2019).

    Raises
    ------
    UserError
        Unknown optimiser.
    """
    if local.optimizer not in OPTIMIZERS:
        raise unknown_name("local.optimizer", local.optimizer, OPTIMIZERS)
    return OPTIMIZERS[local.optimizer](parameters, local)


def reset_optimizer(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Make the worker's optimiser new for the next job: no momentum, and the round's learning rate."""
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
