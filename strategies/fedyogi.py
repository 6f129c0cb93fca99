"""FedYogi (Reddi et al. 2021, arXiv:2003.00295, Algorithm 2)."""

from typing import Annotated

import torch
from pydantic import Field

from strategies._adaptive import AdaptiveFedAvg


class FedYogi(AdaptiveFedAvg):
    """v <- v - (1 - beta2) Delta^2 sign(v - Delta^2)."""

    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99

    def next_second_moment(self, moment: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
        """Return the next v."""
        return moment - (1 - self.beta2) * square * torch.sign(moment - square)
