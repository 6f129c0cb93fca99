"""One-peer exponential graphs (Assran et al. 2019; Ying et al. 2021): one link each, in each round.

arXiv:1811.10792, arXiv:2110.13363. Links reach twice as far in every round. If n is a power of 2, log2 n
rounds without local steps give every client the exact mean.
"""

import numpy as np

from common.topologies import Links
from common.topologies._shifts import powers_of_two, shifted


def links(num_clients: int, generator: np.random.Generator) -> Links:
    """Return the links of each shift, one round per shift."""
    return np.stack([shifted(num_clients, shift) for shift in powers_of_two(num_clients)])
