"""InCo's even partition against the numbers of the authors' code."""

import numpy as np

from tests.datasets.partitions.deals import SIXTY, deal, sizes


def test_o18_homo() -> None:
    parts = deal("homo", np.zeros(10, dtype=np.int64), 3, legacy_seed=0)
    assert [part.tolist() for part in parts] == [sorted([2, 8, 4, 9]), sorted([1, 6, 7]), sorted([3, 0, 5])]


def test_m28_all_samples_once_and_sizes() -> None:
    for seed in range(5):
        parts = deal("homo", SIXTY, 7, seed)
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(600))
        assert max(sizes(parts)) - min(sizes(parts)) <= 1
