"""What the adaptive server optimisers share (Reddi et al. 2021, Algorithm 2)."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field

from common.config import Config
from common.records import Payload, Tensors
from strategies.fedavg import FedAvg


class AdaptiveFedAvg(FedAvg):
    """m <- beta1 m + (1 - beta1) Delta; v by the method; x <- x + lr_s m / (sqrt(v) + tau).

    As in the paper, v starts at tau^2 and there is no bias correction; ``v0_zero`` starts v at zero, as
    Flower and others do.
    """

    REDUCTION = "step"

    server_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    tau: Annotated[float, Field(gt=0, le=1e6)] = 1e-3
    v0_zero: bool = False

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.first_moment: Tensors = {}
        self.second_moment: Tensors = {}

    def measures_changes(self) -> bool:
        """Return True: the step is computed from changes."""
        return True

    @abstractmethod
    def next_second_moment(self, moment: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
        """Return the next v, given v and Delta^2."""

    def divergence_advice(self, config: Config) -> Iterator[str]:
        """Name tau."""
        yield "Adaptive server optimisers take large steps where changes are below method.tau: raise it."

    def rate(self, server_round: int) -> float:
        """Return the server's learning rate of a round, from 1."""
        return self.server_learning_rate

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step by the scaled first moment."""
        start = 0.0 if self.v0_zero else self.tau**2
        step = {}
        for name, change in self.mean_change(averages).items():
            first = self.beta1 * self.first_moment.get(name, 0) + (1 - self.beta1) * change
            second = self.second_moment.get(name, torch.full_like(change, start))
            second = self.next_second_moment(second, change.square())
            self.first_moment[name], self.second_moment[name] = first, second
            step[name] = self.rate(server_round) * first / (second.sqrt() + self.tau)
        return self.stepped(averages, step)
