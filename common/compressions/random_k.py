"""Sends entries drawn at random: subsampling (Konečný et al. 2016, arXiv:1610.05492, Section 3).

Of an array with d values k = ceil(fraction d) are sent, without their places, which the server draws from the
same seed. They are multiplied by d / k, so that the change is right in expectation; with error feedback they
are not (Stich, Cordonnier and Jaggi, NeurIPS 2018, arXiv:1809.07599, Algorithm 1 with rand_k).
"""

import torch

from common.compressions._bytes import joined, split
from common.compressions._some_values import SomeValues


class RandomK(SomeValues):
    """k values of each array, at places that client and server draw alike."""

    def encode(self, change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the values."""
        places = self._places(len(change), generator).to(change.device)
        factor = 1.0 if self.error_feedback else len(change) / len(places)
        return joined(factor * change[places])

    def decode(
        self, data: torch.Tensor, size: int, dtype: torch.dtype, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the values at the places that are drawn again."""
        places = self._places(size, generator).to(data.device)
        (values,) = split(data, (dtype, len(places)))
        return self.placed(values, places, size)

    def _places(self, size: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randperm(size, generator=generator)[: self.count(size)]
