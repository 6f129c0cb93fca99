"""NIID-Bench's Dirichlet partition with a repair instead of the retries."""

import heapq

import numpy as np

from common.dirichlet import log_dirichlet_weights, normalise
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray, class_pools, deal


def repaired_dirichlet(
    targets: IndexArray, num_clients: int, generator: np.random.Generator, alpha: float, min_size: int
) -> Partition:
    """Cut each class by a Dirichlet draw over the clients, then fill up clients below ``min_size``.

    Drawing again until all clients are large enough, as NIID-Bench (Li et al., ICDE 2022) does, practically
    never ends for a small ``alpha`` or many clients. The repair changes as few samples as it can and needs
    no more randomness.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    alpha : float
        Concentration over clients.
    min_size : int
        Smallest client, at most ``len(targets) // num_clients``.
    """
    pools = class_pools(targets)
    counts = _draw_counts(pools, num_clients, generator, alpha)
    repair(counts, min_size)
    return deal(pools, counts, generator)


def _draw_counts(
    pools: list[IndexArray], num_clients: int, generator: np.random.Generator, alpha: float
) -> IndexArray:
    fair_share = sum(map(len, pools)) / num_clients
    counts = np.zeros((num_clients, len(pools)), dtype=np.int64)
    client_sizes = np.zeros(num_clients, dtype=np.int64)
    for label, pool in enumerate(pools):
        if len(pool) == 0:
            continue
        # Samples are left to deal, so at least one client is below the mean.
        probabilities = normalise(
            log_dirichlet_weights(np.full(num_clients, alpha), generator), client_sizes < fair_share
        )
        cuts = (np.cumsum(probabilities)[:-1] * len(pool)).astype(np.int64)
        counts[:, label] = np.diff(cuts, prepend=0, append=len(pool))
        client_sizes += counts[:, label]
    return counts


def repair(counts: IndexArray, min_size: int) -> None:
    """Fill up the rows of a table of counts (clients, classes) to at least ``min_size``, in place.

    Moves samples one by one from the largest client's most frequent class to clients that are too small.

    While a client is below ``min_size``, which is at most the mean, the largest is above it: no step makes
    another client too small, so the loop ends.
    """
    client_sizes = counts.sum(axis=1)
    largest_first = [(-int(size), client) for client, size in enumerate(client_sizes) if size > min_size]
    heapq.heapify(largest_first)
    for needy in np.flatnonzero(client_sizes < min_size):
        for _ in range(min_size - client_sizes[needy]):
            negative_size, donor = largest_first[0]
            label = counts[donor].argmax()
            counts[donor, label] -= 1
            counts[needy, label] += 1
            if negative_size + 1 < -min_size:
                heapq.heapreplace(largest_first, (negative_size + 1, donor))
            else:
                heapq.heappop(largest_first)
