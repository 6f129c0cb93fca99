"""FedDyn's server half (Acar et al. 2021, Algorithm 1)."""

from typing import Annotated, Literal

from pydantic import Field

from common.records import Payload, Tensors
from strategies.fedavg import FedAvg


class FedDyn(FedAvg):
    """h <- h - alpha (1 / K) sum_i (y_i - x); x <- mean_i(y_i) - h / alpha."""

    alpha: Annotated[float, Field(gt=0)] = 0.01
    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.linear: Tensors = {}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step the model and h."""
        share = self.alpha * self.num_replies / self.num_clients
        change = self.mean_change(averages)
        self.linear = {name: self.linear.get(name, 0) - share * d for name, d in change.items()}
        return self.stepped(
            averages, {name: d - self.linear[name] / self.alpha for name, d in change.items()}
        )
