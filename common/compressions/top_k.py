"""Sends the entries of largest magnitude (Aji and Heafield, EMNLP 2017, arXiv:1704.05021).

Of an array with d values the k = ceil(fraction d) largest are sent, and where they are: as 32-bit numbers, or
with a bit for each value where that is shorter. The others count as 0. With error feedback it is Mem-SGD
(Stich, Cordonnier and Jaggi, NeurIPS 2018, arXiv:1809.07599, Algorithm 1).
"""

import torch

from common.compressions._bytes import joined, num_bytes, packed, split, unpacked
from common.compressions._some_values import SomeValues


class TopK(SomeValues):
    """The k largest values of each array, and their places."""

    def encode(self, change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return places and values, in the order of the array."""
        size = len(change)
        places = change.abs().topk(self.count(size), sorted=False).indices.sort().values
        if not self._sends_bits(size):
            return joined(places.to(torch.int32), change[places])
        chosen = torch.zeros(size, dtype=torch.bool, device=change.device)
        chosen[places] = True
        return joined(packed(chosen), change[places])

    def decode(
        self, data: torch.Tensor, size: int, dtype: torch.dtype, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the values at their places."""
        count = self.count(size)
        if self._sends_bits(size):
            bits, values = split(data, (torch.uint8, num_bytes(size)), (dtype, count))
            places = unpacked(bits, size).nonzero()[:, 0]
        else:
            numbers, values = split(data, (torch.int32, count), (dtype, count))
            places = numbers.long()
        if len(places) != count or places[0] < 0 or places[-1] >= size or not (places.diff() > 0).all():
            raise ValueError("places that are not in the array, or not ascending")
        return self.placed(values, places, size)

    def _sends_bits(self, size: int) -> bool:
        """Return whether a bit for each value is shorter than the places of those that are sent."""
        return num_bytes(size) < 4 * self.count(size)
