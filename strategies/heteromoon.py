"""HeteroMOON's server half: that of HeteroAvg.

arXiv:2308.11464.
"""

from strategies.heteroavg import HeteroAvg


class HeteroMoon(HeteroAvg):
    """Averages over holders what clients trained with MOON's contrastive term; mu = 0 is HeteroAvg."""
