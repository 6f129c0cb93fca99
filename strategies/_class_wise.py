"""Averages of a head row by row: each class weighs a client by how many samples of the class it has."""

from typing import Literal

import torch

from common.records import Payload, Tensors
from strategies.fedavg import FedAvg

COUNTS, SCALED = "class-counts", "scaled-head"


class ClassWiseHead(FedAvg):
    """A server half that may average a head class by class, as in the code of FedLoGe (Xiao et al. 2024).

    With ``head_aggregation = "class-wise"`` each row weighs the clients by n_k n_kc, and these send their
    class counts; a class that no client of the round has is averaged by n_k.
    """

    TRANSIENT = (*FedAvg.TRANSIENT, "SECTIONS")
    head_aggregation: Literal["examples", "class-wise"] = "examples"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        if self.head_aggregation == "class-wise":
            self.SECTIONS = self.SECTIONS | {COUNTS}

    def shows_labels(self) -> str:
        """Say that clients send their counts for the head."""
        return "with method.head-aggregation = 'class-wise'" if COUNTS in self.SECTIONS else ""

    def scaled(self, sections: Payload, head: Tensors) -> Payload:
        """Return the sections of a reply, and its head's rows times the class counts if it has these."""
        return (
            {**sections, SCALED: scaled_rows(head, sections[COUNTS]["counts"])}
            if COUNTS in sections
            else sections
        )

    def by_class(self, averages: Payload, head: Tensors) -> Tensors:
        """Return the head averaged class by class, or `head`, which is averaged by n_k."""
        if SCALED not in averages:
            return head
        return class_wise_mean(averages[SCALED], averages[COUNTS]["counts"], head)


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
