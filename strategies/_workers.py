"""Shared by Local SGD's server halves: equal workers, and optimisers that are averaged with the models."""

from typing import ClassVar, Literal

import torch
from flwr.app import MetricRecord

from common.records import ARRAYS, Payload, Tensors
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg

OPTIMIZER = "optimizer"


class Workers(FedAvg):
    """x <- (1/K) sum_k y_k; optimiser state is averaged as well if the workers send it."""

    SECTIONS = frozenset({ARRAYS, OPTIMIZER})
    TRANSIENT: ClassVar[tuple[str, ...]] = (*FedAvg.TRANSIENT, "learning_rate", "optimizer_dtypes")

    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.optimizer: Tensors = {}
        self.optimizer_dtypes: dict[str, torch.dtype] = {}
        self.learning_rate = 0.0  # the mean of the round's local steps

    def broadcast(self, server_round: int) -> Payload:
        """Send the averaged optimiser state, if there is one."""
        return {OPTIMIZER: self.optimizer} if self.optimizer else {}

    def prepare(self, sections: Payload) -> Payload:
        """Record the precision of the optimiser state."""
        self.optimizer_dtypes = {name: value.dtype for name, value in sections.get(OPTIMIZER, {}).items()}
        return sections

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Record the workers' learning rate, which is the same for all."""
        self.learning_rate = float(metrics["learning-rate"])  # type: ignore[arg-type]
        super().accumulate(name, average, section, metrics)

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Store the averaged optimiser state, and step from x to the next model."""
        mean = averages.get(OPTIMIZER, {})
        self.optimizer = {name: value.to(self.optimizer_dtypes[name]) for name, value in mean.items()}
        return self.outer_step(averages, server_round)

    def outer_step(self, averages: Payload, server_round: int) -> Tensors:
        """Return the next model; by default the mean of the workers' models."""
        return averages[ARRAYS]
