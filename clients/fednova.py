"""FedNova's client half (Wang et al. 2020, arXiv:2007.07481): a client reports the weight of its steps."""

from typing import Annotated

import torch
from pydantic import Field

from clients.fedprox import FedProx
from clients.local.sgd_only import require_plain_sgd
from common.records import Payload, Tensors


class FedNova(FedProx):
    """Local SGD with momentum and, for mu > 0, FedProx's proximal term; replies with ||a_i||_1."""

    NEEDS_ONE_RATE = True
    mu: Annotated[float, Field(ge=0, le=1e6)] = 0.0

    def validate(self) -> None:
        """Refuse steps of unknown ||a_i||_1; clipping only affects the contribution of the proximal term."""
        require_plain_sgd(self.worker.config.optimizer, "fednova", allow_clipping=self.mu == 0)

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return FedProx's gradients; without a penalty there is nothing to compute."""
        return super().correct_gradients(params, grads) if self.mu > 0 else grads

    def end_round(self, params: Tensors) -> Payload:
        """Reply with the norm of the step weights, and the number of steps."""
        values = {"norm": self.step_weight_norm, "steps": float(self.num_steps)}
        return {"effort": {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}}
