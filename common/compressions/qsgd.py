"""Rounds values at random to a few levels (Alistarh et al., NeurIPS 2017, arXiv:1610.02132, Section 3.1).

Q(v)_i = ||v||_2 sgn(v_i) xi_i, where xi_i is one of the two multiples of 1 / s around |v_i| / ||v||_2, with
the probabilities that make Q(v) right in expectation, and s = 2^(bits - 1) - 1. An array is sent as its norm
and a whole number of `bits` bits for each value (the paper's Elias coding is not used). E ||Q(v) - v||^2 is
at most min(d / s^2, sqrt(d) / s) ||v||^2 (Lemma 3.1).
"""

from typing import Annotated

import torch
from pydantic import Field

from common.compressions import Compression
from common.compressions._bytes import joined, num_bytes, packed, split, unpacked


class Qsgd(Compression):
    """A norm for each array, and a level for each value."""

    TAKES_FEEDBACK = False

    bits: Annotated[int, Field(ge=2, le=8)] = 4

    def encode(self, change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the norm and the levels, from 0 for -s to 2 s for s."""
        norm = torch.linalg.vector_norm(change)
        drawn = torch.rand(len(change), generator=generator, dtype=change.dtype).to(change.device)
        scaled = (change.abs() / norm.clamp_min(torch.finfo(change.dtype).tiny)).clamp_max(1) * self._levels
        levels = (scaled + drawn).floor().clamp_max(self._levels) * change.sign() + self._levels
        shifts = torch.arange(self.bits, dtype=torch.uint8, device=change.device)
        bits = (levels.to(torch.uint8)[:, None] >> shifts) & 1
        return joined(norm, packed(bits.bool().view(-1)))

    def decode(
        self, data: torch.Tensor, size: int, dtype: torch.dtype, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the levels times the norm."""
        norm, bits = split(data, (dtype, 1), (torch.uint8, num_bytes(size * self.bits)))
        powers = 2 ** torch.arange(self.bits, dtype=torch.uint8, device=data.device)
        levels = (unpacked(bits, size * self.bits).view(size, self.bits) * powers).sum(1, dtype=torch.uint8)
        if (levels > 2 * self._levels).any():
            raise ValueError("levels above the highest")
        return norm * ((levels.to(dtype) - self._levels) / self._levels)

    @property
    def _levels(self) -> int:
        return (1 << (self.bits - 1)) - 1
