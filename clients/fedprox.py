"""FedProx (Li et al. 2020, arXiv:1812.06127, Eq. 2): loss + (mu / 2) ||w - x||^2."""

from typing import Annotated

from pydantic import Field

from clients.base import Client
from common.records import Tensors


class FedProx(Client):
    """Adds mu (w - x) to the gradient, before weight decay and momentum; mu = 0 is FedAvg."""

    mu: Annotated[float, Field(ge=0, le=1e6)] = 0.01
    proximal_weight = property(lambda self: self.mu)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradient of the penalised loss."""
        return {n: grad + self.mu * (params[n] - self.global_params[n]) for n, grad in grads.items()}
