"""FedSim (Pillutla et al. 2022, Algorithm 1): any split into personal and shared parts, trained together.

arXiv:2204.03809.
"""

from clients.fedper import FedPer


class FedSim(FedPer):
    """FedPer for any ``personal_part``, under the name of the study that compares it with FedAlt."""
