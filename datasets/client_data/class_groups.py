"""Head (0), middle (1) and tail (2): groups of classes by which long-tailed learning reports accuracies."""

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]


def cumulative_groups(counts: IndexArray) -> IndexArray:
    """Return the group of each class by its position in the cumulative counts, as in FedLoGe's code.

    Classes are sorted by descending count, ties by label. The head ends with the class that brings the
    cumulative count to 75 % of all samples, the middle with the one that brings it to 95 %; the rest, and
    classes without samples, are the tail.

    Parameters
    ----------
    counts : numpy.ndarray
        int64, (classes,); not all zero.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    total = counts.sum()
    # In integers: a class is past a cut if the classes before it have reached the cut already.
    past_head, past_middle = (100 * before >= percent * total for percent in (75, 95))
    ranks: IndexArray = past_head.astype(np.int64) + past_middle
    ranks[counts[order] == 0] = 2
    groups = np.empty_like(ranks)
    groups[order] = ranks
    return groups


def count_groups(counts: IndexArray) -> IndexArray:
    """Return the group of each class by its training samples: head above 100, tail below 20.

    Liu et al., "Large-Scale Long-Tailed Recognition in an Open World" (CVPR 2019).
    """
    groups = np.ones(len(counts), dtype=np.int64)
    groups[counts > 100] = 0
    groups[counts < 20] = 2
    return groups
