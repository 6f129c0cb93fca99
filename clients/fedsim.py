"""FedSim (Pillutla et al. 2022, Algorithm 1): shared and personal part of any cut, trained simultaneously.

arXiv:2204.03809.
"""

from clients.fedper import FedPer


class FedSim(FedPer):
    """FedPer for any ``personal_part``, under the name of the study that compares it with FedAlt."""
