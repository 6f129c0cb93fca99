"""Losses of a mini-batch, found by file name: ``loss.name = "focal"`` is ``focal.py`` here.

A module has one function ``loss(logits, targets, *, ...)``, whose keyword parameters are what
``loss.<parameter>`` may set; if it has a third parameter ``label_counts``, that is the client's number of
training targets per class (``Job.target_counts``). It returns the mean over samples, or over positions.
Logits have the shape (samples, classes) or (samples, classes, positions), targets are int64 of shape
(samples,) or (samples, positions); negative ones do not count.
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
        The loss function with its parameters bound (``Worker.loss``).
    count_labels : callable
        Counts the client's training targets by class; called only if the loss needs the counts.
    """
    if _takes_label_counts(loss.func):
        return functools.partial(loss, label_counts=count_labels())
    return loss


@functools.lru_cache(maxsize=16)
def _takes_label_counts(function: Callable[..., torch.Tensor]) -> bool:
    return "label_counts" in inspect.signature(function).parameters
