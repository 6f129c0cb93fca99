"""From counts per (client, class) to index arrays."""

import numpy as np
import numpy.typing as npt

from datasets.partition import Partition

IndexArray = npt.NDArray[np.int64]


def class_pools(targets: IndexArray) -> list[IndexArray]:
    """Return for each label in ``range(max + 1)`` the indices of its samples; absent labels have none."""
    by_label = np.argsort(targets, kind="stable")
    return np.split(by_label, np.cumsum(np.bincount(targets))[:-1])


def deal(pools: list[IndexArray], counts: IndexArray, generator: np.random.Generator) -> Partition:
    """Shuffle each pool and give ``counts[client, pool]`` of its samples to each client."""
    owners, samples = [], []
    for pool, takes in zip(pools, counts.T, strict=True):
        owners.append(np.repeat(np.arange(len(counts)), takes))
        samples.append(generator.permutation(pool)[: len(owners[-1])])
    by_owner = np.argsort(np.concatenate(owners), kind="stable")
    return Partition.of_sizes(np.concatenate(samples)[by_owner], counts.sum(axis=1)).sorted()


def even_pieces(order: IndexArray, num_clients: int) -> Partition:
    """Cut samples into one contiguous, sorted piece per client; sizes differ by at most one."""
    size, larger = divmod(len(order), num_clients)
    return Partition.of_sizes(order, np.repeat([size + 1, size], [larger, num_clients - larger])).sorted()
