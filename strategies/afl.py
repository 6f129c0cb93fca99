"""AFL's server half (Mohri, Sivek and Suresh, ICML 2019, arXiv:1902.00146): minimax over clients."""

from collections.abc import Sequence

import torch

from common.records import ARRAYS, Payload, Tensors
from common.sections import NonNegativeFloat
from strategies._client_weights import ClientWeights
from strategies._run_facts import RunFacts


class AFL(ClientWeights):
    """x <- sum_k lambda_k y_k; lambda <- the nearest point of the simplex to lambda + gamma F.

    F_k is the loss on client k's data of the x that was sent; lambda starts at n_k / n, or at 1 / K with
    ``weighting = "uniform"``. In the paper all clients take part in every round, with one step. In a smaller
    cohort lambda is normalised (to equal weights if all are 0), and F_k of absent clients counts as 0.
    metrics.csv has ``lambda_max``.
    """

    COLUMNS = ("lambda_max",)
    SECTIONS = frozenset({ARRAYS, "loss"})

    lambda_learning_rate: NonNegativeFloat = 0.1

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.mixture = torch.zeros(0)  # float64, (clients,)
        self.losses: dict[str, float] = {}

    def setup(self, run: RunFacts) -> None:
        """Set lambda to the clients' weights in the objective; a checkpoint replaces them."""
        super().setup(run)
        sizes = run.num_examples.double()
        weights = torch.ones_like(sizes) if self.weighting == "uniform" else sizes
        self.mixture = weights / weights.sum()

    def cohort_weights(self, cohort: Sequence[int]) -> list[float]:
        """Return lambda."""
        self.losses = {}
        weights: list[float] = self.mixture[cohort].tolist()
        return weights if any(weights) else [1.0] * len(weights)

    def transform_reply(self, sections: Payload) -> Payload:
        """Record the client's loss."""
        self.losses[str(self.client)] = float(sections["loss"]["at-start"])
        return {ARRAYS: sections[ARRAYS]}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Return the mean by lambda, and step lambda."""
        raised = self.mixture.clone()
        for client, loss in self.losses.items():
            raised[int(client)] += self.lambda_learning_rate * loss
        self.mixture = nearest_in_simplex(raised)
        self.round_metrics = {"lambda_max": float(self.mixture.max())}
        return averages[ARRAYS]


def nearest_in_simplex(point: torch.Tensor) -> torch.Tensor:
    """Return the Euclidean projection onto the probability simplex, in float64."""
    descending = point.double().sort(descending=True).values
    counts = torch.arange(1, len(point) + 1, dtype=torch.float64)
    excess = (descending.cumsum(0) - 1) / counts
    kept = int((descending > excess).sum())
    return (point.double() - excess[kept - 1]).clamp(min=0)
