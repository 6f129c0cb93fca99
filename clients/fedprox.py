"""FedProx (Li et al. 2020, Eq. 2): the local loss plus (mu / 2) ||w - x||^2, x the round's global model."""

from typing import Annotated

from pydantic import Field

from clients.base import Client
from common.records import Section


class FedProx(Client):
    """Adds mu (w - x) to the gradient, before weight decay and momentum; mu = 0 is FedAvg."""

    mu: Annotated[float, Field(ge=0)] = 0.01

    def correct_gradients(self, params: Section, grads: Section) -> Section:
        """Return the gradient of the penalised loss."""
        anchor = self.global_params
        return {name: grad + self.mu * (params[name] - anchor[name]) for name, grad in grads.items()}
