"""FedDisco (Ye et al., ICML 2023, arXiv:2305.19229, Eq. 5): weights by size and by label discrepancy."""

from collections.abc import Sequence
from typing import Literal

import torch

from common.sections import NonNegativeFloat
from strategies._client_weights import ClientWeights

Discrepancy = Literal["kl", "l1", "l2"]
_ROUNDING = 1e-12  # below this, a divergence of equal frequencies is rounding error


class FedDisco(ClientWeights):
    """p_i is proportional to max(0, n_i / sum_j n_j - a d_i + b) over the clients of the round.

    d_i is the distance of the client's class frequencies from uniform ones. As in the authors' code, ``kl``
    is normalised to sum 1 over the round's clients; if all weights are 0, n_i alone decides. a = b = 0 is
    FedAvg.
    """

    a: NonNegativeFloat = 0.5
    b: NonNegativeFloat = 0.1
    discrepancy: Discrepancy = "kl"

    def how_labels_leak(self) -> str:
        """Return how: weights are computed from label counts."""
        return "whose weights depend on them"

    def why_not_private(self) -> str:
        """Return how: weights are computed from label counts."""
        return "whose weights depend on the clients' labels"

    def cohort_weights(self, cohort: Sequence[int]) -> list[float]:
        """Return p_i before it is normalised."""
        sizes = self.client_examples[cohort].double()
        base = torch.ones_like(sizes) if self.weighting == "uniform" else sizes
        distances = label_discrepancy(self.label_counts[cohort], self.discrepancy)
        weights: list[float] = adjusted_weights(base / base.sum(), distances, self.a, self.b).tolist()
        return weights


def label_discrepancy(counts: torch.Tensor, kind: Discrepancy) -> torch.Tensor:
    """Return d_i, float64 of shape (clients,), from class counts, (clients, classes)."""
    frequencies = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    if kind != "kl":
        differences = frequencies - 1 / counts.shape[1]
        return differences.abs().sum(dim=1) if kind == "l1" else differences.pow(2).sum(dim=1).sqrt()
    divergences = torch.special.xlogy(frequencies, frequencies * counts.shape[1]).sum(dim=1)
    divergences = torch.where(divergences > _ROUNDING, divergences, 0.0)
    return divergences / divergences.sum() if divergences.sum() > 0 else divergences


def adjusted_weights(weights: torch.Tensor, distances: torch.Tensor, a: float, b: float) -> torch.Tensor:
    """Return max(0, weights - a distances + b), normalised; `weights` if that leaves nobody."""
    adjusted = (weights - a * distances + b).clamp(min=0)
    return adjusted / adjusted.sum() if adjusted.sum() > 0 else weights
