"""Class-wise averages of a head: each row weights clients by their samples of the row's class."""

from typing import Literal

import torch

from common.records import Payload, Tensors
from strategies.fedavg import FedAvg

COUNTS, SCALED = "class-counts", "scaled-head"


class ClassWiseHead(FedAvg):
    """A server half that may average a head class by class, as in the code of FedLoGe (Xiao et al. 2024).

    With ``head_aggregation = "class-wise"`` clients send their class counts, and each row weights them by
    n_k n_kc; the row of a class that no client of the round has is averaged with weights n_k.
    """

    TRANSIENT = ("SECTIONS",)
    head_aggregation: Literal["examples", "class-wise"] = "examples"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        if self.head_aggregation == "class-wise":
            self.SECTIONS = frozenset({*self.SECTIONS, COUNTS})  # type: ignore[misc]

    def how_labels_leak(self) -> str:
        """Return how: clients send their class counts for the head."""
        return "with method.head-aggregation = 'class-wise'" if COUNTS in self.SECTIONS else ""

    def scaled(self, sections: Payload, head: Tensors) -> Payload:
        """Return a reply's sections; if it has class counts, add the head's rows multiplied by them."""
        return (
            {**sections, SCALED: scaled_rows(head, sections[COUNTS]["counts"])}
            if COUNTS in sections
            else sections
        )

    def by_class(self, averages: Payload, head: Tensors) -> Tensors:
        """Return the head averaged class by class, or `head`, the average with weights n_k."""
        if SCALED not in averages:
            return head
        return class_wise_mean(averages[SCALED], averages[COUNTS]["counts"], head)


def scaled_rows(head: Tensors, counts: torch.Tensor) -> Tensors:
    """Return rows multiplied by the class counts (classes,), in float64; ``class_wise_mean`` divides them."""
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
        The rows for classes that no client of the round has.
    """
    means = {}
    for name, value in scaled.items():
        divisor = counts.double().view(-1, *[1] * (value.dim() - 1))
        means[name] = torch.where(divisor > 0, value / divisor.clamp_min(1e-300), fallback[name])
    return means
