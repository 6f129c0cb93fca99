"""Minibatch SGD's server half (Woodworth et al. 2020), with the clipping of Bao, Crawshaw and Liu (2024)."""

import math
from typing import Annotated, Literal

from flwr.app import MetricRecord
from pydantic import Field

from common.records import ARRAYS, Section, Sections
from strategies.aggregation import WeightedAverage
from strategies.fedavg import FedAvg


class MinibatchSgd(FedAvg):
    """x <- x - lr d, where d is the mean over clients of their mean gradient, weight decay included.

    If ||d|| is above ``clip_norm`` (gamma / eta of the paper; 0: never), the step is lr clip_norm long.
    """

    TRANSIENT = (*FedAvg.TRANSIENT, "learning_rate")

    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.learning_rate = 0.0

    def accumulate(
        self, name: str, average: WeightedAverage, section: Section, metrics: MetricRecord
    ) -> None:
        """Take note of the learning rate, which is the same for all."""
        self.learning_rate = float(metrics["learning-rate"])  # type: ignore[arg-type]
        super().accumulate(name, average, section, metrics)

    def update(self, averages: Sections, server_round: int) -> Section:
        """Clip the mean of the clients' steps."""
        change = self.mean_change(averages)
        length = math.sqrt(sum(float(value.square().sum()) for value in change.values()))
        longest = self.learning_rate * self.clip_norm
        if longest == 0 or length <= longest:
            return averages[ARRAYS]
        return self.stepped(averages, {name: longest / length * value for name, value in change.items()})
