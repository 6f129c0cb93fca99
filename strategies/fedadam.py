"""FedAdam (Reddi et al. 2021, Algorithm 2)."""

import torch

from strategies._adaptive import AdaptiveFedAvg


class FedAdam(AdaptiveFedAvg):
    """v <- beta2 v + (1 - beta2) Delta^2."""

    def next_second_moment(self, moment: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
        """Return the next v."""
        return self.beta2 * moment + (1 - self.beta2) * square
