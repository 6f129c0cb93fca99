"""A torus: a grid of clients with wrap-around, so that each has up to four neighbours."""

import math

import numpy as np

from common.errors import UserError
from common.sections import NonNegative
from common.topologies import Links, undirected_links


def links(num_clients: int, generator: np.random.Generator, *, rows: NonNegative = 0) -> Links:
    """Return the links of a grid of `rows` rows; 0 makes it as square as the number of clients allows.

    Along a side of two clients both neighbours are the same client.
    """
    rows = rows or next(r for r in range(math.isqrt(num_clients), 0, -1) if num_clients % r == 0)
    columns, rest = divmod(num_clients, rows)
    if rest or rows < 2 or columns < 2:
        raise UserError(
            f"topology.rows = {rows} does not divide clients.count = {num_clients} into a grid of at least"
            " 2 by 2: choose other numbers, or topology.name = 'ring'"
        )
    grid = np.arange(num_clients).reshape(rows, columns)
    pairs = [np.stack([grid, np.roll(grid, -1, axis)], axis=-1).reshape(-1, 2) for axis in (0, 1)]
    return undirected_links(num_clients, np.concatenate(pairs))
