"""The complete graph: every client exchanges with every other, so that mixing is averaging."""

import numpy as np

from common.topologies import Links


def links(num_clients: int, generator: np.random.Generator) -> Links:
    """Return all links."""
    return ~np.eye(num_clients, dtype=np.bool_)
