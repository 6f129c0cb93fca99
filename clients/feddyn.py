"""FedDyn's client half (Acar et al. 2021, arXiv:2111.04263, Algorithm 1)."""

from typing import Annotated

from pydantic import Field

from clients.base import Client
from common.records import Payload, Tensors


class FedDyn(Client):
    """Minimises f_i(w) - <h_i, w> + (alpha / 2) ||w - x||^2; then h_i <- h_i - alpha (y_i - x)."""

    alpha: Annotated[float, Field(gt=0, le=1e6)] = 0.01

    def init_state(self) -> Payload:
        """Return h_i = 0."""
        return {"linear": self.zeros()}

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return the gradient of the dynamically regularised loss."""
        linear, anchor = self.state["linear"], self.global_params
        return {n: grad - linear[n] + self.alpha * (params[n] - anchor[n]) for n, grad in grads.items()}

    def end_round(self, params: Tensors) -> Payload:
        """Update h_i."""
        linear, anchor = self.state["linear"], self.global_params
        self.state["linear"] = {n: linear[n] - self.alpha * (params[n] - anchor[n]) for n in linear}
        return {}
