"""Realignment of trained heads without training or data (FedLoGe, ICLR 2024: GA-FR and LA-FR).

A head is a section with the ``weight`` (classes, features) of a linear layer and its ``bias``, if any.
Nothing here writes to a head.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from common.records import Tensors

WEIGHT, BIAS = "weight", "bias"
HEAD = "classifier."  # prefix of a model's entries

SMALLEST_NORM = 1e-12

Inference = Literal["code", "readme", "paper", "log"]
BiasOf = Literal["global", "local"]


def logits(head: Tensors, features: Tensor) -> Tensor:
    """Return the logits of a linear layer with this head, (samples, classes)."""
    return F.linear(features, head[WEIGHT], head.get(BIAS))


def model_entries(head: Tensors) -> Tensors:
    """Return a head with its names in a model."""
    return {f"{HEAD}{name}": value for name, value in head.items()}


def head_of_model(model: Tensors) -> Tensors:
    """Return the head among a model's entries."""
    return {name.removeprefix(HEAD): value for name, value in model.items() if name.startswith(HEAD)}


def head_entries(model: Tensors) -> Tensors:
    """Return the head's entries under their names in the model; their first dimension is the class."""
    return {name: value for name, value in model.items() if name.startswith(HEAD)}


def is_of_head(entries: Iterable[str]) -> bool:
    """Return whether all of these entries of a model belong to its head."""
    return all(name.startswith(HEAD) for name in entries)


def realign_globally(head: Tensors, norm: float = 1.7) -> Tensors:
    """Return psi' with psi'_c = norm psi_c / ||psi_c||, and the bias unchanged (GA-FR).

    The paper's figure has norm 1, the authors' code 1.7; with unequal biases they predict differently.
    """
    weight = head[WEIGHT]
    norms = weight.norm(dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
    return {**head, WEIGHT: norm * weight / norms}


def without_bias(head: Tensors) -> Tensors:
    """Return a head whose bias, if it has one, is zero."""
    return {name: torch.zeros_like(value) if name == BIAS else value for name, value in head.items()}


def realign_locally(global_head: Tensors, local_head: Tensors, bias: BiasOf = "global") -> Tensors:
    """Return phi' with phi'_c = psi_c ||phi_c||, for the trained psi, and the bias of either (LA-FR)."""
    chosen = global_head if bias == "global" else local_head
    return {**chosen, WEIGHT: global_head[WEIGHT] * local_head[WEIGHT].norm(dim=1, keepdim=True)}


def personal_logits(
    features: Tensor,
    global_head: Tensors,
    local_head: Tensors,
    inference: Inference,
    paper_bias: BiasOf = "global",
) -> Tensor:
    """Return a client's personalised logits in one of the published forms.

    Parameters
    ----------
    features : Tensor
        (samples, features).
    global_head, local_head : Tensors
        The trained psi and phi_k.
    inference : {"code", "readme", "paper", "log"}
        ``code``: phi' with psi's bias, plus phi. ``readme``: phi' with phi's bias, plus psi. ``paper``: phi'
        alone, with the bias that `paper_bias` names, since the paper names none. ``log``: psi plus phi, no
        realignment, which the authors' logs show.

    Returns
    -------
    Tensor
        (samples, classes).
    """
    if inference == "log":
        return logits(global_head, features) + logits(local_head, features)
    if inference == "paper":
        return logits(realign_locally(global_head, local_head, paper_bias), features)
    if inference == "readme":
        realigned, added = realign_locally(global_head, local_head, "local"), global_head
    else:
        realigned, added = realign_locally(global_head, local_head, "global"), local_head
    return logits(realigned, features) + logits(added, features)
