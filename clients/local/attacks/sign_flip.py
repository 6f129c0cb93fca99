"""Sign flipping (Li et al., AAAI 2019, arXiv:1811.03761, section 5.2)."""

from typing import Annotated

import torch
from pydantic import Field

from clients.local.attacks import Attack
from common.records import Tensors


class SignFlip(Attack):
    """Sends x - factor (y - x) instead of the trained y."""

    factor: Annotated[float, Field(gt=0, le=1e6)] = 1.0

    def model(self, trained: Tensors, start: Tensors, generator: torch.Generator) -> Tensors:
        """Return the step in the other direction."""
        return {name: start[name] - self.factor * (value - start[name]) for name, value in trained.items()}
