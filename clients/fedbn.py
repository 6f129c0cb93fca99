"""FedBN (Li et al. 2021): BatchNorm layers are personal, their parameters and their statistics.

arXiv:2102.07623.
"""

from clients.fedper import FedPer


class FedBN(FedPer):
    """Shares all but the BatchNorm layers, which are found by their type."""

    personal_part: str = "batch-norm"
