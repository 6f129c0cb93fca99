"""Stratified hold-out: every class keeps its share."""

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]


def stratified_hold_out(
    targets: IndexArray, count: int, generator: np.random.Generator
) -> tuple[IndexArray, IndexArray]:
    """Hold out ``count`` samples, from each class its share rounded by largest remainder.

    Returns
    -------
    kept, held_out : numpy.ndarray
        Sorted indices into ``targets``; together they cover all samples.
    """
    classes, class_sizes = np.unique(targets, return_counts=True)
    # Integer arithmetic: a share such as 0.1 * 450 must not become 44.99.
    quota, remainder = np.divmod(class_sizes * count, len(targets))
    most_remainder_first = np.argsort(-remainder, kind="stable")
    quota[most_remainder_first[: count - quota.sum()]] += 1
    held = np.zeros(len(targets), dtype=bool)
    for label, size in zip(classes, quota, strict=True):
        held[generator.permutation(np.flatnonzero(targets == label))[:size]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
