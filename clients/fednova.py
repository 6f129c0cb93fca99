"""FedNova's client half (Wang et al. 2020): a client tells how much its steps weigh."""

from typing import Annotated

import torch
from pydantic import Field

from clients.fedprox import FedProx
from common.records import Section, Sections


class FedNova(FedProx):
    """Local SGD with momentum and, for mu > 0, FedProx's proximal term; replies with ||a_i||_1."""

    NEEDS_ONE_RATE = True
    mu: Annotated[float, Field(ge=0)] = 0.0

    def end_round(self, params: Section) -> Sections:
        """Reply with the norm of the step weights, and the number of steps."""
        values = {"norm": self.step_weight_norm, "steps": float(self.num_steps)}
        return {"effort": {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}}
