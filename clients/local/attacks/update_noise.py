"""Noisy updates (Chan et al., ICLR 2024, section 5.4 and figures 7, 24 and 25): a fault, not an attack."""

from typing import Annotated

import torch
from pydantic import Field

from clients.local.attacks import Attack
from common.records import Tensors


class UpdateNoise(Attack):
    """Sends y + N(0, (scale s)^2), where s is the standard deviation of the entries of y - x of a tensor."""

    scale: Annotated[float, Field(gt=0, le=1e6)] = 1.0

    def model(self, trained: Tensors, start: Tensors, generator: torch.Generator) -> Tensors:
        """Return the trained entries with noise."""

        def noise(value: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
            deviation = (value.double() - before.double()).std(unbiased=False)
            drawn = torch.randn(value.shape, generator=generator, device=generator.device).to(value)
            return self.scale * deviation.to(value) * drawn

        return {name: value + noise(value, start[name]) for name, value in trained.items()}
