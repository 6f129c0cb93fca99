"""Gaussian updates (Blanchard et al., NeurIPS 2017, arXiv:1703.02757, section 5)."""

from typing import Annotated

import torch
from pydantic import Field

from clients.local.attacks import Attack
from common.records import Tensors


class Gaussian(Attack):
    """Sends x + N(0, std^2) instead of the trained y."""

    std: Annotated[float, Field(gt=0, le=1e6)] = 1.0

    def model(self, trained: Tensors, start: Tensors, generator: torch.Generator) -> Tensors:
        """Return noise around the model that was sent."""

        def noise(value: torch.Tensor) -> torch.Tensor:
            return torch.randn(value.shape, generator=generator, device=generator.device).to(value)

        return {name: start[name] + self.std * noise(value) for name, value in trained.items()}
