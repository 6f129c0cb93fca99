"""Scaled updates, as in model replacement (Bagdasaryan et al., AISTATS 2020, arXiv:1807.00459, Eq. 3)."""

from typing import Annotated

import torch
from pydantic import Field

from clients.local.attacks import Attack
from common.records import Tensors


class Scaled(Attack):
    """Sends x + factor (y - x) instead of the trained y."""

    factor: Annotated[float, Field(gt=0, le=1e6)] = 10.0

    def model(self, trained: Tensors, start: Tensors, generator: torch.Generator) -> Tensors:
        """Return the longer step."""
        return {name: start[name] + self.factor * (value - start[name]) for name, value in trained.items()}
