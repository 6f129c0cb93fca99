"""Head (0), middle (1) and tail (2): groups of classes by which long-tailed learning reports accuracies."""

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]


def cumulative_groups(counts: IndexArray) -> IndexArray:
    """Return the group of each class by its place in the cumulative counts, as in the code of FedLoGe.

    Classes are sorted by count, descending, ties by label. Up to and including the class with which 75 % of
    all samples are reached they are the head, up to and including the one with 95 % the middle, the rest
    and classes without samples are the tail.

    Parameters
    ----------
    counts : numpy.ndarray
        int64, (classes,); not all zero.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    total = counts.sum()
    # In integers: a class is past a cut if the classes before it reach it already.
    past_head, past_middle = (100 * before >= percent * total for percent in (75, 95))
    ranks: IndexArray = past_head.astype(np.int64) + past_middle
    ranks[counts[order] == 0] = 2
    groups = np.empty_like(ranks)
    groups[order] = ranks
    return groups


def count_groups(counts: IndexArray, many: int = 100, few: int = 20) -> IndexArray:
    """Return the group of each class by its training samples: more than `many`, fewer than `few`, the rest.

    Liu et al., "Large-Scale Long-Tailed Recognition in an Open World" (CVPR 2019).
    """
    groups = np.ones(len(counts), dtype=np.int64)
    groups[counts > many] = 0
    groups[counts < few] = 2
    return groups
