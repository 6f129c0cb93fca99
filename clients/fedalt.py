"""FedAlt (Pillutla et al. 2022, Algorithm 2): any split into personal and shared parts, trained in turns.

arXiv:2204.03809.
"""

from clients.fedrep import FedRep


class FedAlt(FedRep):
    """FedRep for any ``personal_part``, under the name of the study that compares it with FedSim."""
