"""FedAdam (Reddi et al. 2021, arXiv:2003.00295, Algorithm 2)."""

import math
from typing import Annotated

import torch
from pydantic import Field

from strategies._adaptive import AdaptiveFedAvg


class FedAdam(AdaptiveFedAvg):
    """v <- beta2 v + (1 - beta2) Delta^2.

    ``flower_bias_correction`` multiplies the rate of round t by sqrt(1 - beta2^(t+1)) / (1 - beta1^(t+1)), as
    Flower's FedAdam does; the paper has no bias correction.
    """

    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    flower_bias_correction: bool = False

    def rate(self, server_round: int) -> float:
        """Return the server's learning rate of a round."""
        rate, exponent = super().rate(server_round), server_round + 1
        if not self.flower_bias_correction:
            return rate
        return rate * math.sqrt(1 - self.beta2**exponent) / (1 - self.beta1**exponent)

    def next_second_moment(self, moment: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
        """Return the next v."""
        return self.beta2 * moment + (1 - self.beta2) * square
