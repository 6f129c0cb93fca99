"""FedAvgM (Hsu et al. 2019, arXiv:1909.06335): momentum on the server."""

from typing import Annotated

from pydantic import Field

from common.records import Payload, Tensors
from strategies.fedavg import FedAvg


class FedAvgM(FedAvg):
    """v <- beta v + Delta; x <- x + lr_s v, or x + lr_s (Delta + beta v) with ``nesterov``."""

    REDUCTION = "step"

    server_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.velocity: Tensors = {}

    def measures_changes(self) -> bool:
        """Return True: the velocity is computed from changes."""
        return True

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step along the velocity."""
        change = self.mean_change(averages)
        self.velocity = {name: self.beta * self.velocity.get(name, 0) + d for name, d in change.items()}
        direction = self.velocity
        if self.nesterov:
            direction = {name: d + self.beta * self.velocity[name] for name, d in change.items()}
        return self.stepped(averages, {name: self.server_learning_rate * v for name, v in direction.items()})
