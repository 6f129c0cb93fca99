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

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def loss_of(loss: functools.partial[torch.Tensor], count_labels: Callable[[], torch.Tensor]) -> Loss:
    """Return a client's loss of (logits, targets).

    Parameters
    ----------
    loss : partial
        What the section ``loss`` names, with its parameters (``Worker.loss``).
    count_labels : callable
        Counts the client's training samples by class; asked for if the loss depends on it.
    """
    if _takes_label_counts(loss.func):
        return functools.partial(loss, label_counts=count_labels())
    return loss


@functools.lru_cache(maxsize=16)
def _takes_label_counts(function: Callable[..., torch.Tensor]) -> bool:
    return "label_counts" in inspect.signature(function).parameters
