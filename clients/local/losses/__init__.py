"""Losses of a mini-batch, found by file name: ``loss.name = "focal"`` is ``focal.py`` here.

A module has one function ``loss(logits, targets, *, ...)``, whose keyword parameters are what
``loss.<parameter>`` may set; with a third parameter ``label_counts`` it is also given the client's training
samples of each class. It returns the mean over samples, or over positions. Logits have the shape (samples,
classes) or (samples, classes, positions), targets are int64 of shape (samples,) or (samples, positions);
negative ones do not count.
"""

import functools
import inspect
from collections.abc import Callable

import torch

from common.chosen import chosen_function
from common.plugins import LOSS
from common.sections import NamedSection

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def make_loss(section: NamedSection, count_labels: Callable[[], torch.Tensor]) -> Loss:
    """Return the loss of (logits, targets) that the section ``loss`` names.

    Parameters
    ----------
    section : NamedSection
        The name, and the loss's parameters.
    count_labels : callable
        Counts the client's training samples by class; asked for if the loss depends on it.

    Raises
    ------
    UserError
        If there is no such loss or parameter, or a value is out of range.
    """
    loss = chosen_function(LOSS, section)
    if _takes_label_counts(loss.func):
        return functools.partial(loss, label_counts=count_labels())
    return loss


@functools.lru_cache(maxsize=16)
def _takes_label_counts(function: Callable[..., torch.Tensor]) -> bool:
    return "label_counts" in inspect.signature(function).parameters
