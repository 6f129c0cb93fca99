"""A ring: every client exchanges with the one before and the one after it."""

import numpy as np

from common.topologies import Links, undirected_links


def links(num_clients: int, generator: np.random.Generator) -> Links:
    """Return the links of a ring; of two clients it is one link."""
    clients = np.arange(num_clients)
    return undirected_links(num_clients, np.stack([clients, (clients + 1) % num_clients], axis=1))
