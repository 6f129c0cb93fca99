"""RFA, the geometric median of models (Pillutla, Kakade and Harchaoui 2019, arXiv:1912.13445)."""

from typing import Annotated

import torch
from flwr.app import MetricRecord
from pydantic import Field

from common.records import ARRAYS, Payload, Tensors
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg


class GeometricMedian(FedAvg):
    """x <- argmin_z sum_k a_k ||z - y_k||, by the smoothed Weiszfeld algorithm (Algorithm 2).

    z starts from the mean; in each of ``iterations`` steps client k weighs a_k / max(``smoothing``,
    ||z - y_k||). Norms are over all trainable entries; all others are averaged. The changes of all the
    round's clients are kept in memory, in float64. The authors' code makes 4 steps, or fewer where a step
    changes the sum by less than 1e-6 of it, with 1e-5 as ``smoothing``.
    """

    TRANSIENT = ("_changes",)

    iterations: Annotated[int, Field(ge=1, le=1000)] = 10
    smoothing: Annotated[float, Field(gt=0)] = 1e-6

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._changes: list[tuple[float, torch.Tensor]] = []

    def why_not_private(self) -> str:
        """Return the reason: the noise is for means."""
        return "which takes no mean of the clients' models"

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Keep the model's change, and accumulate its average."""
        super().accumulate(name, average, section, metrics)
        if name == ARRAYS:
            changes = [(section[key] - self.global_model[key]).double() for key in self.parameter_names]
            self._changes.append((self.weight(metrics), torch.cat([change.flatten() for change in changes])))

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step to the median."""
        weights = torch.tensor([weight for weight, _ in self._changes], dtype=torch.float64)
        changes = torch.stack([change for _, change in self._changes])
        self._changes = []
        median = geometric_median(changes, weights, self.iterations, self.smoothing)
        step, first = {}, 0
        for name in self.parameter_names:
            shape = self.global_model[name].shape
            step[name] = median[first : first + shape.numel()].reshape(shape)
            first += shape.numel()
        return self.stepped(averages, step)


def geometric_median(
    points: torch.Tensor, weights: torch.Tensor, iterations: int, smoothing: float
) -> torch.Tensor:
    """Return the point that minimises the weighted sum of distances to `points`, (points, dimensions)."""
    median = weights @ points / weights.sum()
    for _ in range(iterations):
        inverse = weights / (points - median).norm(dim=1).clamp(min=smoothing)
        median = inverse @ points / inverse.sum()
    return median
