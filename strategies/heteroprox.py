"""HeteroProx's server half: that of HeteroAvg.

arXiv:2308.11464.
"""

from strategies.heteroavg import HeteroAvg


class HeteroProx(HeteroAvg):
    """Averages over holders what clients trained with FedProx's proximal term; mu = 0 is HeteroAvg."""
