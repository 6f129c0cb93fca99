"""The static exponential graph (Ying et al. 2021, arXiv:2110.13363): links at distances 1, 2, 4, ...

Links go one way, and every client has ceil(log2 n) of them.
"""

import numpy as np

from common.topologies import Links
from common.topologies._shifts import powers_of_two, shifted


def links(num_clients: int, generator: np.random.Generator) -> Links:
    """Return the links of all shifts."""
    found: Links = np.any([shifted(num_clients, shift) for shift in powers_of_two(num_clients)], axis=0)
    return found
