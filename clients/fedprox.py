"""FedProx (Li et al. 2020, Eq. 2): the local loss plus (mu / 2) ||w - x||^2, x the round's global model."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from clients.base import Client
from common.records import Section


class FedProx(Client):
    """Adds mu (w - x) to the gradient, before weight decay and momentum; mu = 0 is FedAvg.

    With ``form = "norm"`` the penalty is mu ||w - x||, as in the code of FedLoGe.
    """

    mu: Annotated[float, Field(ge=0)] = 0.01
    form: Literal["squared", "norm"] = "squared"

    def correct_gradients(self, params: Section, grads: Section) -> Section:
        """Return the gradient of the penalised loss."""
        changes = {name: params[name] - anchor for name, anchor in self.global_params.items()}
        scale = self.mu if self.form == "squared" else self.mu / norm(changes)
        return {name: grad + scale * changes[name] for name, grad in grads.items()}


def norm(section: Section) -> torch.Tensor:
    """Return the Euclidean norm of all entries together; not below the smallest number, to divide by."""
    squares = torch.stack([value.square().sum() for value in section.values()])
    return squares.sum().sqrt().clamp_min(torch.finfo(squares.dtype).tiny)
