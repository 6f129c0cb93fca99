"""Feature heterogeneity: numbers of the specification, and relations."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.partitions import make_partition
from datasets.partitions.feature import feature_partition
from tests.datasets.partitions.deals import class_counts

CLASSES = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5])
ORDER = np.array([11, 4, 7, 0, 13, 2, 9, 6, 15, 8, 1, 10, 3, 12, 5, 14])


@pytest.mark.parametrize(
    ("heterogeneity", "num_clients", "expected"),
    [
        (0.5, 2, [[15, 8, 1, 10, 0, 2, 11, 13], [3, 12, 5, 14, 4, 6, 7, 9]]),
        (0.25, 2, [[13, 2, 9, 6, 15, 8, 0, 11], [1, 10, 3, 12, 5, 14, 4, 7]]),
        (0.0, 3, [[11, 4, 7, 0, 13], [2, 9, 6, 15, 8], [1, 10, 3, 12, 5]]),
    ],
)
def test_feature_partition(heterogeneity: float, num_clients: int, expected: list[list[int]]) -> None:
    parts = feature_partition(ORDER, CLASSES % 2, CLASSES, num_clients, heterogeneity)
    assert [part.tolist() for part in parts] == expected


def test_feature_partition_of_ten_equal_classes() -> None:
    classes = np.arange(50_000) % 10
    deal = functools.partial(make_partition, "feature", classes % 2, 8, np.random.default_rng(0))
    sorted_all = class_counts(deal({"heterogeneity": 1.0}, classes=classes), classes)
    pairs = [(3125, 0), (1875, 1250), (3125, 1), (625, 2500), (2500, 625), (3125, 3), (1250, 1875), (3125, 4)]
    assert [sum(client.values()) for client in sorted_all] == [6250] * 8
    assert [client[min(client)] for client in sorted_all] == [first for first, _ in pairs]
    assert max(map(len, sorted_all)) == 4  # at most two classes per label
    for client in sorted_all:
        assert all(client[c] == client[c + 1] for c in client if c % 2 == 0)
    for heterogeneity, shared in ((0.25, 4687), (0.5, 3125)):
        parts = deal({"heterogeneity": heterogeneity}, classes=classes)
        num_sorted = sum(len(pool) // 8 for pool in np.split(np.arange(round(heterogeneity * 50_000)), 2))
        assert abs(len(parts[0]) - shared - num_sorted) <= 2
        assert len({len(part) for part in parts}) == 1


@given(st.integers(2, 5), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_partitions_by_heterogeneity_are_disjoint_and_equal(num_clients: int, q: float, seed: int) -> None:
    classes = np.arange(60) % 6
    for name, targets in (("feature", classes % 2), ("sorted-labels", classes)):
        generator = np.random.default_rng(seed)
        parts = make_partition(name, targets, num_clients, generator, {"heterogeneity": q}, classes=classes)
        assert len({len(part) for part in parts}) == 1
        assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts)) >= 60 - 3 * num_clients


def test_without_heterogeneity_classes_differ_by_sampling_noise() -> None:
    """Against a hypergeometric distribution: 6,250 of 50,000 samples, 5,000 of each class."""
    classes = np.arange(50_000) % 10
    deal = functools.partial(make_partition, "feature", classes % 2, 8, np.random.default_rng(0))
    histograms = np.array(
        [np.bincount(classes[part], minlength=10) for part in deal({"heterogeneity": 0.0}, classes=classes)]
    )
    scores = (histograms - 625) / np.sqrt(6250 * 0.1 * 0.9 * (50_000 - 6250) / (50_000 - 1))
    assert np.abs(scores).max() < 4.5
    # Margins are fixed: 7 x 9 degrees of freedom, within four standard deviations; a stratified deal has 0.
    assert (scores**2).sum() * 0.9 * 7 / 8 == pytest.approx(7 * 9, abs=4 * np.sqrt(2 * 7 * 9))


@pytest.mark.parametrize("heterogeneity", [0.25, 0.5, 1.0])
def test_labels_are_unbalanced_by_the_random_part_alone(heterogeneity: float) -> None:
    classes = np.arange(50_000) % 10
    order = np.random.default_rng(1).permutation(50_000)
    parts = feature_partition(order, classes % 2, classes, 8, heterogeneity)
    shared = round((1 - heterogeneity) * 50_000) // 8
    first, rest = (
        np.array([np.bincount(classes[p] % 2, minlength=2) for p in pieces])
        for pieces in ([part[:shared] for part in parts], [part[shared:] for part in parts])
    )
    labels = np.bincount(classes[order[: round(heterogeneity * 50_000)]] % 2)
    assert rest.tolist() == [(labels // 8).tolist()] * 8
    assert (np.ptp(first, axis=0) > 0).all() == (shared > 0)
