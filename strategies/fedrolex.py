"""FedRolex's server half (Alam et al., NeurIPS 2022, section 3): HeteroFL with a rolling window.

arXiv:2212.01548.
"""

from typing import Literal

import torch

from models.sizes.submodels import EntrySelection
from strategies.heterofl import HeteroFL


class FedRolex(HeteroFL):
    """Clients with k of a layer's n channels hold a window that advances by one channel in every round.

    After r rounds it is (j - r) mod n, j = 0..k-1, as in the authors' code (``direction = "code"``), or
    (r + j) mod n as in the paper (``paper``). Layers of the same width have the same window, so that
    shortcuts fit; over n rounds every channel is chosen k times. Clients with all channels have them in the
    window's order.
    """

    direction: Literal["code", "paper"] = "code"

    def selection(self, size: str, server_round: int) -> EntrySelection:
        """Return the window of a round, from 1."""
        assert self.submodels is not None
        shift = server_round - 1

        def window(n: int, k: int) -> torch.Tensor | None:
            return rolling_window(n, k, shift, self.direction)

        return self.submodels.selection(size, window)


def rolling_window(n: int, k: int, shift: int, direction: str) -> torch.Tensor | None:
    """Return the k of n channels after `shift` rounds, int64; None if they are all n in order."""
    if n == k and shift % n == 0:
        return None
    return (torch.arange(k) + (shift if direction == "paper" else -shift)) % n
