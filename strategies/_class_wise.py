"""Averages of a head row by row: each class weighs a client by how many samples of the class it has."""

from collections.abc import Iterable

import torch

from common.records import Tensors

HEAD = "classifier."


def head_entries(names: Iterable[str]) -> list[str]:
    """Return the names of the head's entries, whose first dimension is the class."""
    return [name for name in names if name.startswith(HEAD)]


def scaled_rows(head: Tensors, counts: torch.Tensor) -> Tensors:
    """Return rows multiplied by the class counts (classes,), in float64: an average of them divides again."""
    return {
        name: value.double() * counts.double().view(-1, *[1] * (value.dim() - 1))
        for name, value in head.items()
    }


def class_wise_mean(scaled: Tensors, counts: torch.Tensor, fallback: Tensors) -> Tensors:
    """Return psi_c = sum_k n_k n_kc psi_kc / sum_k n_k n_kc, from averages with weights n_k.

    These are the weights a_kc = (n_k / sum_j n_j) (n_kc / sum_j n_jc), normalised over the clients.

    Parameters
    ----------
    scaled : Tensors
        The average of `scaled_rows`.
    counts : torch.Tensor
        (classes,): the average of the class counts.
    fallback : Tensors
        The rows of classes that no client of the round has.
    """
    means = {}
    for name, value in scaled.items():
        divisor = counts.double().view(-1, *[1] * (value.dim() - 1))
        means[name] = torch.where(divisor > 0, value / divisor.clamp_min(1e-300), fallback[name])
    return means
