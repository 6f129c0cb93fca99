"""Shared by Local SGD's server halves: equal clients, and optimisers that are averaged with the models."""

import math
from typing import Literal

import torch
from flwr.app import MetricRecord

from common.records import ARRAYS, Payload, Tensors
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg

OPTIMIZER = "optimizer"


class EqualClients(FedAvg):
    """x <- (1/K) sum_k y_k; optimiser state is averaged as well if the clients send it."""

    SECTIONS = frozenset({ARRAYS, OPTIMIZER})
    TRANSIENT = ("_rates", "optimizer_dtypes")

    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.optimizer: Tensors = {}
        self.optimizer_dtypes: dict[str, torch.dtype] = {}
        self._rates: list[tuple[float, float]] = []  # of each reply: its local steps times weight, their rate

    @property
    def learning_rate(self) -> float:
        """The learning rate of the round's local steps.

        Where it changes within the round or differs between clients, its mean over all their steps, those of
        a client weighted as its model is: divided by it, the mean change of the models is the sum over the
        steps of the mean direction, if that is alike in all of them.
        """
        rates = [rate for _, rate in self._rates]
        if min(rates) == max(rates):  # exactly that, not up to rounding
            return rates[0]
        return math.fsum(steps * rate for steps, rate in self._rates) / math.fsum(s for s, _ in self._rates)

    def broadcast(self, server_round: int) -> Payload:
        """Send the averaged optimiser state, if there is one."""
        self._rates = []
        return {OPTIMIZER: self.optimizer} if self.optimizer else {}

    def transform_reply(self, sections: Payload) -> Payload:
        """Record the precision of the optimiser state."""
        self.optimizer_dtypes = {name: value.dtype for name, value in sections.get(OPTIMIZER, {}).items()}
        return sections

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Record how many steps the client took, and at which rate."""
        if name == ARRAYS:
            rate, steps = float(metrics["learning-rate"]), float(metrics["num-steps"])  # type: ignore[arg-type]
            self._rates.append((self.weight(metrics) * steps, rate))
        super().accumulate(name, average, section, metrics)

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Store the averaged optimiser state, and step from x to the next model."""
        mean = averages.get(OPTIMIZER, {})
        self.optimizer = {name: value.to(self.optimizer_dtypes[name]) for name, value in mean.items()}
        return self.outer_step(averages, server_round)

    def outer_step(self, averages: Payload, server_round: int) -> Tensors:
        """Return the next model; by default the mean of the clients' models."""
        return averages[ARRAYS]
