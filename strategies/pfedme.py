"""pFedMe's server half (T. Dinh, Tran and Nguyen 2020, arXiv:2006.08848, Algorithm 1)."""

from typing import Annotated, Literal

from pydantic import Field

from common.records import Payload, Tensors
from strategies.fedavg import FedAvg


class PFedMe(FedAvg):
    """w <- (1 - beta) w + beta mean_i w_i; beta may be above 1."""

    beta: Annotated[float, Field(gt=0)] = 1.0
    weighting: Literal["examples", "uniform"] = "uniform"

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Return the next global model."""
        step = {name: self.beta * change for name, change in self.mean_change(averages).items()}
        return self.stepped(averages, step)
