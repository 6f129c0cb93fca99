"""FedAdagrad (Reddi et al. 2021, arXiv:2003.00295, Algorithm 2)."""

from typing import Annotated

import torch
from pydantic import Field

from strategies._adaptive import AdaptiveFedAvg


class FedAdagrad(AdaptiveFedAvg):
    """v <- v + Delta^2, without momentum by default."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def next_second_moment(self, moment: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
        """Return the next v."""
        return moment + square
