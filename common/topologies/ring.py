"""A ring: every worker exchanges with the one before and the one after it."""

import numpy as np

from common.topologies import Links, undirected_links


def links(num_workers: int, generator: np.random.Generator) -> Links:
    """Return the links of a ring; of two workers it is one link."""
    workers = np.arange(num_workers)
    return undirected_links(num_workers, np.stack([workers, (workers + 1) % num_workers], axis=1))
