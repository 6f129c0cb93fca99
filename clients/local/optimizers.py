"""Local optimisers by name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from clients.local.eager import eager
from clients.local.lamb import LAMB
from clients.local.lars import LARS
from common.errors import unknown_name
from common.records import Tensors
from common.sections import LocalSection

_OF = "/"  # between a quantity that an optimiser keeps and the parameter that it is of

Groups = list[dict[str, Any]]


def _sgd(groups: Groups, local: LocalSection) -> torch.optim.Optimizer:
    return eager(torch.optim.SGD)(
        groups,
        lr=local.learning_rate,
        momentum=local.momentum,
        nesterov=local.nesterov,
        weight_decay=local.weight_decay,
        fused=True,
    )


def _adamw(groups: Groups, local: LocalSection) -> torch.optim.Optimizer:
    return eager(torch.optim.AdamW)(
        groups,
        lr=local.learning_rate,
        betas=(local.beta1, local.beta2),
        eps=local.epsilon or 1e-8,
        weight_decay=local.weight_decay,
        fused=True,
    )


def _lars(groups: Groups, local: LocalSection) -> torch.optim.Optimizer:
    return eager(LARS)(
        groups,
        lr=local.learning_rate,
        momentum=local.momentum,
        weight_decay=local.weight_decay,
        trust_coefficient=local.trust_coefficient,
        eps=local.epsilon,
    )


def _lamb(groups: Groups, local: LocalSection) -> torch.optim.Optimizer:
    return eager(LAMB)(
        groups,
        lr=local.learning_rate,
        betas=(local.beta1, local.beta2),
        eps=local.epsilon or 1e-6,
        weight_decay=local.weight_decay,
        bias_correction=local.bias_correction,
    )


OPTIMIZERS: dict[str, Callable[[Groups, LocalSection], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "lars": _lars,
    "lamb": _lamb,
}
LAYER_WISE = ("lars", "lamb")


def make_optimizer(parameters: Iterable[torch.Tensor], local: LocalSection) -> torch.optim.Optimizer:
    """Build the optimiser ``local.optimizer``.

    Weight decay is added to the gradient (SGD, LARS) or decoupled (AdamW, Loshchilov and Hutter 2019; LAMB).

    Raises
    ------
    UserError
        Unknown optimiser.
    """
    if local.optimizer not in OPTIMIZERS:
        raise unknown_name("local.optimizer", local.optimizer, OPTIMIZERS)
    return OPTIMIZERS[local.optimizer](parameter_groups(parameters, local), local)


def parameter_groups(parameters: Iterable[torch.Tensor], local: LocalSection) -> Groups:
    """Return one group of all parameters, or those of ``local.weight-decay-exclude`` in one of their own.

    Biases and the parameters of normalisations are those with fewer than two dimensions. Their group has no
    weight decay, and the layer-wise optimisers do not scale its rate.
    """
    parameters = list(parameters)
    exclude = local.weight_decay_exclude
    if exclude == "none" or (exclude == "auto" and local.optimizer not in LAYER_WISE):
        return [{"params": parameters}]
    with_decay = [param for param in parameters if param.dim() > 1]
    without = [param for param in parameters if param.dim() <= 1]
    groups: Groups = [{"params": with_decay}, {"params": without, "weight_decay": 0.0, "adapt": False}]
    return [group for group in groups if group["params"]]


def weight_decays(optimizer: torch.optim.Optimizer, params: Tensors) -> dict[str, float]:
    """Return the weight decay that an optimiser gives each parameter, by name."""
    decays = {
        id(param): group["weight_decay"] for group in optimizer.param_groups for param in group["params"]
    }
    return {name: float(decays[id(param)]) for name, param in params.items()}


def reset_optimizer(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Make the worker's optimiser new for the next job: no momentum, and the round's learning rate."""
    optimizer.state.clear()
    set_learning_rate(optimizer, learning_rate)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Take the next steps at this rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_state(optimizer: torch.optim.Optimizer, params: Tensors) -> Tensors:
    """Return what an optimiser keeps of each parameter: ``<quantity>/<name>`` → a copy of the tensor."""
    return {
        f"{quantity}{_OF}{name}": value.detach().clone()
        for name, param in params.items()
        for quantity, value in optimizer.state.get(param, {}).items()
        if isinstance(value, torch.Tensor)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, params: Tensors, state: Tensors) -> None:
    """Give a new optimiser what ``optimizer_state`` returned, in copies."""
    for key, value in state.items():
        quantity, _, name = key.partition(_OF)
        optimizer.state[params[name]][quantity] = value.clone()
