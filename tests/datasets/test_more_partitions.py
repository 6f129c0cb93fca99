"""Quantity skew, NIID-Bench's label sets, two-level CIFAR-100, and what holds for every scheme."""

import random
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from datasets.partition_report import label_counts
from datasets.partitions import available_partitions, make_partition
from datasets.partitions._niid_bench import (
    niid_bench_label_owners,
    niid_bench_labels,
    niid_bench_quantity,
    retried_dirichlet,
    retried_quantity,
)
from datasets.partitions.pachinko import COARSE_OF_FINE
from tests.datasets.test_partitions import (
    CIFAR100_TRAINING_TARGETS,
    assert_well_formed,
    partition,
    sizes,
    targets_strategy,
)

seeds = st.integers(0, 2**32 - 1)


class CountingGenerator(np.random.RandomState):
    """Counts its Dirichlet draws."""

    draws = 0

    def dirichlet(self, *arguments: object, **keywords: object) -> np.ndarray:  # type: ignore[override]
        self.draws += 1
        return super().dirichlet(*arguments, **keywords)  # type: ignore[call-overload,no-any-return]


class TestQuantity:
    NIID_BENCH_SIZES = (618, 10, 22, 66, 12, 49, 23, 123, 48, 29)

    def test_niid_bench_numbers(self) -> None:
        parts = niid_bench_quantity(1000, 10, 0.5, seed=0)
        assert sizes(parts) == list(self.NIID_BENCH_SIZES)
        assert_well_formed(parts, 1000, 10)
        legacy = CountingGenerator(0)
        again = retried_quantity(1000, 10, 0.5, legacy, 10)
        assert legacy.draws == 11
        assert all(map(np.array_equal, parts, again))
        # The permutation is drawn first.
        order = np.random.RandomState(0).permutation(1000)
        assert parts[0].tolist() == sorted(order[:618].tolist())

    @given(targets_strategy, st.data(), st.floats(-8, 4).map(lambda exponent: 10**exponent), seeds)
    @settings(deadline=None)
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


@given(st.lists(st.integers(20, 60), min_size=2, max_size=12), st.integers(1, 20), st.data(), seeds)
@settings(deadline=None)
def test_niid_bench_variant_of_classes(
    class_sizes: list[int], num_clients: int, data: st.DataObject, seed: int
) -> None:
    classes_per_client = data.draw(st.integers(1, len(class_sizes)))
    targets = np.repeat(2 * np.arange(len(class_sizes)), class_sizes)  # labels with gaps
    parts = partition(
        "classes", targets, num_clients, seed, classes_per_client=classes_per_client, variant="niid-bench"
    )
    assert_well_formed(parts, len(targets), num_clients)
    held = label_counts(targets, parts, 2 * len(class_sizes)) > 0
    assert (held.sum(axis=1) == classes_per_client).all()
    assert all(held[client, 2 * (client % len(class_sizes))] for client in range(num_clients))


def test_more_owners_than_samples_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"gets no sample, .*; lower clients\.count") as raised:
        partition("classes", np.repeat([0, 1], [3, 37]), 20, classes_per_client=1, variant="niid-bench")
    assert "\n" not in str(raised.value)


class TestPachinko:
    def coarse_counts(self, parts: Sequence[np.ndarray], targets: np.ndarray) -> np.ndarray:
        return label_counts(COARSE_OF_FINE[targets], parts, 20)

    def test_published_setting(self) -> None:
        targets = np.repeat(np.arange(100), 500)
        started = time.perf_counter()
        parts = partition("pachinko", targets, 500)
        assert time.perf_counter() - started < 5
        assert_well_formed(parts, 50000, 500)
        assert sizes(parts) == [100] * 500
        held = (self.coarse_counts(parts[:250], targets) >= 5).sum(axis=1)
        # Dir(0.1) over 20: mass on two or three; fine labels within them are spread.
        assert 1.5 < held.mean() < 5
        fine = label_counts(targets, parts[:50], 100)
        largest = self.coarse_counts(parts[:50], targets).argmax(axis=1)
        spread = [(fine[client, largest[client] == COARSE_OF_FINE] > 0).sum() for client in range(50)]
        assert np.mean(spread) > 4

    def test_limits(self) -> None:
        def first_client(**parameters: float) -> tuple[int, int]:
            parts = partition("pachinko", CIFAR100_TRAINING_TARGETS, 450, **parameters)[:1]
            fine = label_counts(CIFAR100_TRAINING_TARGETS, parts, 100)
            coarse = self.coarse_counts(parts, CIFAR100_TRAINING_TARGETS)
            return int((coarse > 0).sum()), int((fine > 0).sum())

        assert first_client(coarse_alpha=1e-8, fine_alpha=1e-8) == (1, 1)
        assert first_client(coarse_alpha=1e-8, fine_alpha=1e6) == (1, 5)
        coarse, fine = first_client(coarse_alpha=1e6, fine_alpha=1e-8)
        assert coarse == fine > 15

    def test_exhausted_classes_drop_out(self) -> None:
        parts = partition("pachinko", CIFAR100_TRAINING_TARGETS, 3)
        assert sizes(parts) == [15000] * 3
        with pytest.warns(UserWarning, match="'pachinko': 4 samples are left out"):
            make_partition("pachinko", np.arange(104) % 100, 10, np.random.default_rng(0), {})

    def test_only_for_100_labels(self) -> None:
        with pytest.raises(UserError, match="needs the 100 labels of CIFAR-100"):
            partition("pachinko", np.arange(50) % 10, 5)


@pytest.mark.parametrize("name", [name for name in available_partitions() if name != "natural"])
def test_relations_that_hold_for_every_scheme(name: str) -> None:
    targets = CIFAR100_TRAINING_TARGETS[::5]
    first, again, other = (partition(name, targets, 10, seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert all(map(np.array_equal, first, other)) == (name in ("fed-lt", "hetero-fixed"))
    assert_well_formed(first, len(targets), 10)
    counts = label_counts(targets, first, 100)
    assert counts.sum(axis=1).tolist() == sizes(first)
    held = np.bincount(targets[np.concatenate(first)], minlength=100)
    assert (counts.sum(axis=0) == held).all()
    assert (held <= np.bincount(targets, minlength=100)).all()


@pytest.mark.parametrize(
    ("name", "num_clients", "parameters", "complaint"),
    [
        ("quantity", 2, {"beta": 0.0}, "partition.beta must be greater than 0"),
        ("quantity", 2, {"min-size": 11}, "mean client size is 10"),
        ("quantity", 2, {"variant": "hsu"}, "must be 'repair' or 'niid-bench'"),
        (
            "quantity", 2, {"variant": "niid-bench", "beta": 1e-8},
            "after 1000 tries the smallest client has at best 0 samples",
        ),
        ("classes", 2, {"variant": "hsu"}, "must be 'balanced' or 'niid-bench'"),
        ("classes", 2, {"classes-per-client": 3, "variant": "niid-bench"}, "between 1 and"),
        ("pachinko", 2, {"fine-alpha": -1.0}, "partition.fine-alpha must be greater than 0"),
    ],
)  # fmt: skip
def test_wrong_configuration_is_one_clear_line(
    name: str, num_clients: int, parameters: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        make_partition(name, np.repeat([0, 1], 10), num_clients, np.random.default_rng(0), parameters)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
