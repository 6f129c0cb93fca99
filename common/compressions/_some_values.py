"""What compressions have in common that send some of the values of an array."""

import math
from typing import Annotated

import torch
from pydantic import Field

from common.compressions import Compression


class SomeValues(Compression):
    """Sends k = ceil(fraction d) of the d values of an array."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 0.01

    def count(self, size: int) -> int:
        """Return k, given d."""
        return math.ceil(self.fraction * size)

    @staticmethod
    def placed(values: torch.Tensor, places: torch.Tensor, size: int) -> torch.Tensor:
        """Return an array with these values at their places, and 0 elsewhere."""
        change = values.new_zeros(size)
        change[places] = values
        return change
