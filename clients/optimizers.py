"""Local optimisers by name."""

from collections.abc import Callable, Iterable

import torch

from common.config import LocalSection
from common.errors import unknown_name
from common.records import Section

_OF = "/"  # between a quantity that an optimiser keeps and the parameter that it is of


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


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Take the next steps at this rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_state(optimizer: torch.optim.Optimizer, params: Section) -> Section:
    """Return what an optimiser keeps of each parameter: ``<quantity>/<name>`` → a copy of the tensor."""
    return {
        f"{quantity}{_OF}{name}": value.detach().clone()
        for name, param in params.items()
        for quantity, value in optimizer.state.get(param, {}).items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, params: Section, state: Section) -> None:
    """Give a new optimiser what ``optimizer_state`` returned, in copies."""
    for key, value in state.items():
        quantity, _, name = key.partition(_OF)
        optimizer.state[params[name]][quantity] = value.clone()
