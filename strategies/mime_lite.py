"""MimeLite's server half (Karimireddy et al. 2021, arXiv:2008.03606, Algorithm 1 with SGDm)."""

from typing import Annotated, Literal

from pydantic import Field

from common.records import ARRAYS, Payload, Tensors
from strategies.fedavg import FedAvg


class MimeLite(FedAvg):
    """x <- mean y_i; m <- (1 - beta) mean_i grad f_i(x) + beta m, at the x that was sent; m starts at 0."""

    SECTIONS = frozenset({ARRAYS, "gradient"})

    beta: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.momentum: Tensors = {}

    def broadcast(self, server_round: int) -> Payload:
        """Send m."""
        return {"momentum": self.as_trained(self.momentum)}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Return the mean model and step the momentum."""
        self.momentum = {
            name: (1 - self.beta) * gradient + self.beta * self.momentum.get(name, 0)
            for name, gradient in averages["gradient"].items()
        }
        return averages[ARRAYS]
