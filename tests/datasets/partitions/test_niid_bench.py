"""NIID-Bench's published numbers."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from datasets.partition_report import label_counts
from datasets.partitions._niid_bench import (
    niid_bench_dirichlet,
    niid_bench_label_owners,
    niid_bench_labels,
    retried_dirichlet,
)
from tests.datasets.partitions.deals import CountingGenerator, sizes


def test_niid_bench_oracle_three_classes() -> None:
    targets = np.arange(120) % 3
    first = niid_bench_dirichlet(targets, 4, 0.5, seed=0)
    assert sizes(first) == [34, 33, 30, 23]
    assert label_counts(targets, first, 3).tolist() == [[20, 14, 0], [18, 15, 0], [1, 9, 20], [1, 2, 20]]
    second = niid_bench_dirichlet(targets, 4, 0.5, seed=1)
    assert sizes(second) == [21, 27, 36, 36]
    assert label_counts(targets, second, 3).tolist() == [[16, 1, 4], [23, 2, 2], [0, 36, 0], [1, 1, 34]]


def test_niid_bench_oracle_ten_classes() -> None:
    parts = niid_bench_dirichlet(np.repeat(np.arange(10), 100), 10, 0.5, seed=0)
    assert sizes(parts) == [101, 116, 107, 103, 32, 128, 92, 95, 109, 117]


def test_niid_bench_indices_equal_the_published_loop() -> None:
    targets = np.random.default_rng(5).integers(0, 4, 300)
    legacy = np.random.RandomState(7)
    smallest = 0
    while smallest < 10:
        batches: list[list[int]] = [[] for _ in range(6)]
        for label in range(4):
            pool = np.where(targets == label)[0]
            legacy.shuffle(pool)
            shares = legacy.dirichlet(np.repeat(0.3, 6))
            shares = np.array([p * (len(b) < 300 / 6) for p, b in zip(shares, batches, strict=True)])
            shares = shares / shares.sum()
            cuts = (np.cumsum(shares) * len(pool)).astype(int)[:-1]
            batches = [b + piece.tolist() for b, piece in zip(batches, np.split(pool, cuts), strict=True)]
        smallest = min(map(len, batches))
    parts = niid_bench_dirichlet(targets, 6, 0.3, seed=7)
    assert [indices.tolist() for indices in parts] == [sorted(batch) for batch in batches]


@pytest.mark.parametrize(("seed", "tries"), [(0, 1), (1, 2)])
def test_niid_bench_dirichlet_is_accepted_at_the_published_try(seed: int, tries: int) -> None:
    legacy = CountingGenerator(seed)
    retried_dirichlet(np.arange(120) % 3, 4, 0.5, legacy, 10, masked=True)
    assert legacy.draws == 3 * tries  # one draw a class


def test_niid_bench_label_sets() -> None:
    owners = niid_bench_label_owners(10, 10, 2, random.Random(0))
    assert [tuple(labels) for labels in owners] == [
        (0, 6), (1, 6), (2, 0), (3, 4), (4, 8), (5, 7), (6, 4), (7, 5), (8, 9), (9, 3),
    ]  # fmt: skip
    per_class = Counter(label for labels in owners for label in labels)
    assert [per_class[label] for label in range(10)] == [2, 1, 1, 2, 3, 2, 3, 2, 2, 2]


def test_niid_bench_labels_equal_the_published_loop() -> None:
    targets = np.random.default_rng(3).integers(0, 10, 997)
    parts = niid_bench_labels(targets, 10, 2, random.Random(0), np.random.RandomState(0))
    owners = niid_bench_label_owners(10, 10, 2, random.Random(0))
    legacy = np.random.RandomState(0)
    expected: list[list[int]] = [[] for _ in range(10)]
    for label in range(10):
        pool = np.where(targets == label)[0]
        legacy.shuffle(pool)
        pieces = iter(np.array_split(pool, sum(label in labels for labels in owners)))
        for client in range(10):
            if label in owners[client]:
                expected[client] += next(pieces).tolist()
    assert [indices.tolist() for indices in parts] == [sorted(indices) for indices in expected]


def test_o17_the_cap_on_full_clients() -> None:
    class Given(np.random.RandomState):
        shares = iter([(0.5, 0.25, 0.25), (0.8, 0.1, 0.1), (0.2, 0.35, 0.45)])

        def shuffle(self, x: Any) -> None:
            pass

        def dirichlet(self, alpha: Any, size: Any = None) -> Any:
            return np.array(next(self.shares))

    parts = retried_dirichlet(np.repeat([0, 1, 2], 8), 3, 0.5, Given(0), 1, masked=True)
    assert [part.tolist() for part in parts] == [
        [0, 1, 2, 3, 8, 9, 10, 11, 12, 13],
        [4, 5, 14, 16, 17, 18],
        [6, 7, 15, 19, 20, 21, 22, 23],
    ]
