"""Quantity skew."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.partition_report import label_counts
from datasets.partitions._niid_bench import retried_quantity
from tests.datasets.partitions.deals import (
    CIFAR100_TRAINING_TARGETS,
    CountingGenerator,
    assert_well_formed,
    check_refused,
    partition,
    seeds,
    sizes,
    targets_strategy,
)


class TestQuantity:
    NIID_BENCH_SIZES = (618, 10, 22, 66, 12, 49, 23, 123, 48, 29)

    def test_niid_bench_numbers(self) -> None:
        legacy = CountingGenerator(0)
        parts = retried_quantity(1000, 10, 0.5, legacy, 10)
        assert legacy.draws == 11
        assert sizes(parts) == list(self.NIID_BENCH_SIZES)
        assert_well_formed(parts, 1000, 10)
        # The permutation is drawn first.
        order = np.random.RandomState(0).permutation(1000)
        assert parts[0].tolist() == sorted(order[:618].tolist())

    @given(targets_strategy, st.data(), st.floats(-8, 4).map(lambda exponent: 10**exponent), seeds)
    def test_repair_uses_all_samples_and_leaves_nobody_empty(
        self, targets: np.ndarray, data: st.DataObject, beta: float, seed: int
    ) -> None:
        num_clients = data.draw(st.integers(1, len(targets)))
        parts = partition("quantity", targets, num_clients, seed, beta=beta)
        assert_well_formed(parts, len(targets), num_clients)
        assert sum(sizes(parts)) == len(targets)
        assert min(sizes(parts)) >= max(1, min(10, len(targets) // (2 * num_clients)))

    def test_beta_is_inequality_of_sizes_not_of_labels(self) -> None:
        def spread(beta: float) -> float:
            return float(np.std(sizes(partition("quantity", CIFAR100_TRAINING_TARGETS, 20, beta=beta))))

        # Var(q N) = N^2 (K - 1) / (K^2 (K beta + 1)).
        assert spread(0.5) == pytest.approx(45000 * np.sqrt(19 / (400 * 11)), rel=0.5)
        assert spread(1e6) < 20
        assert spread(0.05) > spread(0.5) > spread(5)
        parts = partition("quantity", np.arange(45000) % 10, 5, beta=1.0)
        counts = label_counts(np.arange(45000) % 10, parts, 10)
        shares = counts / counts.sum(axis=1, keepdims=True)
        assert np.abs(shares - 0.1).max() < 5 * np.sqrt(0.09 / counts.sum(axis=1).min())

    def test_variants_and_min_size(self) -> None:
        parts = partition("quantity", CIFAR100_TRAINING_TARGETS, 10, variant="niid-bench", min_size=100)
        assert_well_formed(parts, 45000, 10)
        assert sum(sizes(parts)) == 45000
        assert min(sizes(parts)) >= 99
        assert min(sizes(partition("quantity", CIFAR100_TRAINING_TARGETS, 100, beta=0.01))) == 10
        assert sizes(partition("quantity", CIFAR100_TRAINING_TARGETS, 100, min_size=450)) == [450] * 100
        started = time.perf_counter()
        partition("quantity", CIFAR100_TRAINING_TARGETS, 1000, beta=0.01)
        assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("num_clients", "parameters", "complaint"),
    [
        (2, {"beta": 0.0}, "partition.beta must be greater than 0"),
        (2, {"min-size": 11}, "mean client size is 10"),
        (2, {"variant": "hsu"}, "must be 'repair' or 'niid-bench'"),
        (
            2,
            {"variant": "niid-bench", "beta": 1e-8},
            "after 1000 tries the smallest client has at best 0 samples",
        ),
    ],
)
def test_wrong_configuration_is_one_clear_line(
    num_clients: int, parameters: dict[str, object], complaint: str
) -> None:
    check_refused("quantity", num_clients, parameters, complaint)
