"""Clients that hold a random share of the data, and the rest in the order of a label."""

from collections.abc import Sequence

import numpy as np

from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray


def deal_pools(shared: IndexArray, sorted_pools: Sequence[IndexArray], num_clients: int) -> Partition:
    """Give client k the k-th of equal, contiguous pieces of every pool; remainders are left out.

    Returns
    -------
    Partition
        Unsorted: for every client first the samples of `shared`, then those of each sorted pool in turn.
    """
    pools = [shared, *sorted_pools]
    sizes = [len(pool) // num_clients for pool in pools]
    if sum(sizes) == 0:
        raise UserError(
            f"the partition would leave {num_clients} clients without samples: lower clients.count"
        )
    pieces = [
        pool[: num_clients * size].reshape(num_clients, size) for pool, size in zip(pools, sizes, strict=True)
    ]
    return Partition.of_sizes(np.concatenate(pieces, axis=1).ravel(), np.full(num_clients, sum(sizes)))
