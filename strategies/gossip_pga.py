"""Gossip-PGA (Chen et al. 2021, arXiv:2105.09080, Algorithm 1): gossip SGD with periodic global averaging."""

from typing import ClassVar

from common.sections import NonNegative, Value
from strategies.gossip_sgd import GossipSgd


class GossipPga(GossipSgd):
    """Gossip SGD in which every ``period``-th round (H) ends with the mean over all clients; 0: none does.

    With H = 1 it is Local SGD; without links it would be Local SGD with H times the local steps. With
    ``combine-then-adapt``, which the paper does not have, such a round takes the mean before the local steps,
    so clients end it with different models.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"method.period": 2}

    period: NonNegative = 6

    def averages_globally(self, server_round: int) -> bool:
        """Return whether H divides the round's number."""
        return self.period > 0 and server_round % self.period == 0
