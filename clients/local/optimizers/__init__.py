"""Local optimisers, found by file name: ``optimizer.name = "lars"`` is ``lars.py`` here.

A module has one function ``build(parameters, learning_rate, *, ...)``, which returns a PyTorch optimiser; its
keyword parameters are what ``optimizer.<parameter>`` may set. ``ELEMENTWISE = True`` in the module declares
that the optimiser's steps are elementwise, so that several clients' tensors may be stacked
(``runtime.stack``).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from common.chosen import chosen_function
from common.errors import UserError
from common.global_generators import seeded_if_drawn
from common.plugin_kinds import OPTIMIZER
from common.records import Tensors
from common.sections import OptimizerSection

_OF = "/"  # between a quantity that an optimiser keeps and the parameter that it is of


def make_optimizer(parameters: Iterable[torch.Tensor], section: OptimizerSection) -> torch.optim.Optimizer:
    """Build the optimiser that the section ``optimizer`` names.

    Raises
    ------
    UserError
        If there is no such optimiser or parameter, or values are out of range or do not go together.
    """
    build = chosen_function(OPTIMIZER, section)
    made = build(parameters, section.learning_rate)
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"optimizer.name '{section.name}' must return a torch.optim.Optimizer, not {made!r}")
    return made


def optimizer_parameters(section: OptimizerSection) -> Mapping[str, Any]:
    """Return the optimiser parameters that the run sets, by name (``weight_decay``)."""
    return chosen_function(OPTIMIZER, section).keywords


def weight_decays(optimizer: torch.optim.Optimizer, params: Tensors) -> dict[str, float]:
    """Return the weight decay that an optimiser applies to each parameter, by name."""
    decays = {
        id(param): group.get("weight_decay", 0.0)
        for group in optimizer.param_groups
        for param in group["params"]
    }
    return {name: float(decays[id(param)]) for name, param in params.items()}


def clips_decay(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether gradients are clipped together with the optimiser's weight decay."""
    return any(group.get("clip_decay", False) for group in optimizer.param_groups)


def reset_optimizer(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Reset the worker's optimiser for the next job: empty state, and the round's learning rate."""
    optimizer.state.clear()
    set_learning_rate(optimizer, learning_rate)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_state(optimizer: torch.optim.Optimizer, params: Tensors) -> Tensors:
    """Return an optimiser's state: ``<quantity>/<parameter>`` → a copy of the tensor."""
    return {
        f"{quantity}{_OF}{name}": value.detach().clone()
        for name, param in params.items()
        for quantity, value in optimizer.state.get(param, {}).items()
        if isinstance(value, torch.Tensor)
    }


def parameter_of(key: str) -> str:
    """Return the name of the parameter to which an entry of ``optimizer_state`` belongs."""
    return key.partition(_OF)[2]


def optimizer_form(section: OptimizerSection, params: Tensors) -> Tensors:
    """Return the form of ``optimizer_state`` after a step: names, shapes, dtypes; the values mean nothing."""
    tried = {
        name: param.detach().clone().requires_grad_(param.requires_grad) for name, param in params.items()
    }
    optimizer = make_optimizer(tried.values(), section)
    for param in tried.values():
        param.grad = torch.zeros_like(param) if param.requires_grad else None
    with seeded_if_drawn(next(iter(tried.values())).device):
        optimizer.step()
    return optimizer_state(optimizer, tried)


def load_optimizer_state(optimizer: torch.optim.Optimizer, params: Tensors, state: Tensors) -> None:
    """Load copies of what ``optimizer_state`` returned into a new optimiser."""
    for key, value in state.items():
        quantity, _, name = key.partition(_OF)
        optimizer.state[params[name]][quantity] = value.clone()
