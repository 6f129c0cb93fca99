"""The complete graph: every worker exchanges with every other, so that mixing is averaging."""

import numpy as np

from common.topologies import Links


def links(num_workers: int, generator: np.random.Generator) -> Links:
    """Return all links."""
    return ~np.eye(num_workers, dtype=np.bool_)
