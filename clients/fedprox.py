"""FedProx (Li et al. 2020, arXiv:1812.06127, Eq. 2): loss + (mu / 2) ||w - x||^2."""

from typing import Annotated, Literal

from pydantic import Field

from clients.base import Client
from common.norms import norm
from common.records import Tensors


class FedProx(Client):
    """Adds mu (w - x) to the gradient, before weight decay and momentum; mu = 0 is FedAvg."""

    mu: Annotated[float, Field(ge=0, le=1e6)] = 0.01
    form: Literal["squared", "norm"] = "squared"  # norm: the penalty is mu ||w - x||
    proximal_weight = property(lambda self: self.mu)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradient of the penalised loss."""
        changes = {name: params[name] - anchor for name, anchor in self.global_params.items()}
        length = norm(changes).clamp_min(1e-30) if self.form == "norm" else 1.0
        return {name: grad + self.mu / length * changes[name] for name, grad in grads.items()}
