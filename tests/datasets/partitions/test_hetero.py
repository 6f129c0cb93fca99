"""InCo's Dirichlet partition against the numbers of the authors' code."""

import numpy as np

from tests.datasets.partitions.deals import SIXTY, check_seeded_numbers, deal, sizes


def test_m28_all_samples_once_and_sizes() -> None:
    for seed in range(5):
        parts = deal("hetero", SIXTY, 7, seed)
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(600))
        assert min(sizes(parts)) >= 10


def test_o18_seeded_numbers() -> None:
    check_seeded_numbers("hetero")
