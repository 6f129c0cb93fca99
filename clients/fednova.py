"""FedNova's client half (Wang et al. 2020, arXiv:2007.07481): a client reports how much its steps weigh."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from clients.fedprox import FedProx
from clients.local.sgd_only import require_plain_sgd
from common.records import Payload, Tensors


class FedNova(FedProx):
    """Local SGD with momentum and, for mu > 0, FedProx's proximal term; replies with ||a_i||_1."""

    NEEDS_ONE_RATE = True
    mu: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    form: Literal["squared"] = "squared"  # with another one a step is no sum of gradients with known weights

    def validate(self) -> None:
        """Refuse steps whose ||a_i||_1 is not known; clipping spoils only the proximal term's part of it."""
        require_plain_sgd(self.worker.config.optimizer, "fednova", allow_clipping=self.mu == 0)

    def end_round(self, params: Tensors) -> Payload:
        """Reply with the norm of the step weights, and the number of steps."""
        values = {"norm": self.step_weight_norm, "steps": float(self.num_steps)}
        return {"effort": {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}}
