"""Classes in groups by their number of samples."""

import numpy as np
import pytest

from datasets.client_data.class_groups import count_groups, cumulative_groups
from datasets.long_tail import long_tail_counts


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ([50, 30, 10, 6, 4], [0, 0, 1, 1, 2]),
        ([75, 20, 5], [0, 1, 2]),
        ([4, 0, 10, 10, 1, 0], [1, 2, 0, 0, 2, 2]),
        ([96, 2, 2], [0, 2, 2]),
        ([10, 10, 10, 10], [0, 0, 0, 1]),
        ([58, 66, 7, 0, 32, 4, 4, 0, 0, 0], [0, 0, 1, 2, 0, 2, 2, 2, 2, 2]),
        ([3558, 2294, 1480, 954, 615, 393, 248, 152, 99, 57], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]),
        ([4012, 2394, 1429, 848, 504, 295, 172, 95, 53, 27], [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]),
    ],
)
def test_cumulative_groups(counts: list[int], groups: list[int]) -> None:
    assert cumulative_groups(np.array(counts)).tolist() == groups
    assert cumulative_groups(7 * np.array(counts)).tolist() == groups


@pytest.mark.parametrize(("factor", "sizes"), [(0.01, [35, 35, 30]), (0.02, [41, 41, 18])])
def test_groups_by_count(factor: float, sizes: list[int]) -> None:
    assert np.bincount(count_groups(np.array(long_tail_counts(500, 100, factor)))).tolist() == sizes
    assert count_groups(np.array([101, 100, 20, 19])).tolist() == [0, 1, 1, 2]
