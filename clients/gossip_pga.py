"""Gossip-PGA's client half: that of gossip SGD (Chen et al. 2021, arXiv:2105.09080)."""

from typing import ClassVar

from clients import gossip_sgd
from common.sections import Value


class GossipPga(gossip_sgd.GossipSgd):
    """A client of gossip SGD."""

    EXAMPLE: ClassVar[dict[str, Value]] = {**gossip_sgd.GossipSgd.EXAMPLE, "method.momentum": "average"}
