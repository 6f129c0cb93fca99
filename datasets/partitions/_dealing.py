"""From counts per (client, class) to index arrays."""

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]


def class_pools(targets: IndexArray) -> list[IndexArray]:
    """Return for each label in ``range(max + 1)`` the indices of its samples; absent labels have none."""
    by_label = np.argsort(targets, kind="stable")
    return np.split(by_label, np.cumsum(np.bincount(targets))[:-1])


def deal(pools: list[IndexArray], counts: IndexArray, generator: np.random.Generator) -> list[IndexArray]:
    """Shuffle each pool and give ``counts[client, pool]`` of its samples to each client."""
    dealt: list[list[IndexArray]] = [[] for _ in counts]
    for pool, takes in zip(pools, counts.T, strict=True):
        shuffled = generator.permutation(pool)
        ends = np.cumsum(takes)
        for client in np.flatnonzero(takes):
            dealt[client].append(shuffled[ends[client] - takes[client] : ends[client]])
    return [np.sort(np.concatenate(parts)) for parts in dealt]
