"""FedProx (Li et al. 2020, Eq. 2): the local loss plus (mu / 2) ||w - x||^2, x the round's global model."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from clients.base import Client
from common.records import Section


class FedProx(Client):
    """Adds mu (w - x) to the gradient, before weight decay and momentum; mu = 0 is FedAvg.

    With ``form = "norm"`` the penalty is mu ||w - x||, as in the code of FedLoGe; its gradient at x is zero.
    """

    mu: Annotated[float, Field(ge=0)] = 0.01
    form: Literal["squared", "norm"] = "squared"

    def correct_gradients(self, params: Section, grads: Section) -> Section:
        """Return the gradient of the penalised loss."""
        anchor = self.global_params
        changes = {name: params[name] - anchor[name] for name in grads}
        scale: float | torch.Tensor = self.mu
        if self.form == "norm":
            squares = [change.square().sum() for change in changes.values()]
            scale = self.mu / torch.stack(squares).sum().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        return {name: grad + scale * changes[name] for name, grad in grads.items()}
