"""Sends the signs, and one magnitude (Karimireddy et al., ICML 2019, arXiv:1901.09847, Algorithm 1).

C(v) = ||v||_1 / d sgn(v): a bit for each value and the mean magnitude of each array. Made for error feedback.
"""

import torch

from common.compressions import Compression
from common.compressions._bytes import joined, num_bytes, packed, split, unpacked


class Sign(Compression):
    """A sign for each value, and the mean magnitude of each array."""

    def encode(self, change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return the magnitude and the signs, that of 0 as positive."""
        return joined(change.abs().mean(), packed(change >= 0))

    def decode(
        self, data: torch.Tensor, size: int, dtype: torch.dtype, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the signs times the magnitude."""
        magnitude, bits = split(data, (dtype, 1), (torch.uint8, num_bytes(size)))
        return torch.where(unpacked(bits, size), magnitude, -magnitude)
