"""Dirichlet label skew: repair, NIID-Bench's retries, and Hsu's mixtures of clients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from datasets.partition_report import label_counts
from tests.datasets.partitions.deals import (
    CIFAR100_TRAINING_TARGETS,
    assert_well_formed,
    check_refused,
    partition,
    seeds,
    sizes,
    targets_strategy,
)


@given(
    targets_strategy,
    st.data(),
    st.floats(-8, 4).map(lambda exponent: 10**exponent),
    seeds,
)
def test_repaired_dirichlet_uses_all_samples_and_leaves_nobody_empty(
    targets: np.ndarray, data: st.DataObject, alpha: float, seed: int
) -> None:
    num_clients = data.draw(st.integers(1, len(targets)))
    parts = partition("dirichlet", targets, num_clients, seed, alpha=alpha)
    assert_well_formed(parts, len(targets), num_clients)
    assert sum(sizes(parts)) == len(targets)
    assert min(sizes(parts)) >= max(1, min(10, len(targets) // (2 * num_clients)))
    again = partition("dirichlet", targets, num_clients, seed, alpha=alpha)
    assert all(map(np.array_equal, parts, again))


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    ("alpha", "num_clients"),
    [(5e-324, 3), (1e-300, 1000), (1e-8, 45000), (1e-3, 1000), (1e4, 1), (1e4, 3), (1e300, 1000)],
)
def test_repaired_dirichlet_ends_for_any_alpha(alpha: float, num_clients: int) -> None:
    parts = partition("dirichlet", CIFAR100_TRAINING_TARGETS, num_clients, alpha=alpha)
    assert sum(sizes(parts)) == 45000
    assert min(sizes(parts)) >= 1


def test_dirichlet_alpha_means_skew() -> None:
    def mean_classes_held(alpha: float) -> float:
        parts = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 20, alpha=alpha)
        return float((label_counts(CIFAR100_TRAINING_TARGETS, parts, 100) > 0).sum(axis=1).mean())

    # One owner per class, and hence five classes per client, in the limit; all of them at the other end.
    assert mean_classes_held(1e-8) == pytest.approx(5, abs=0.5)
    assert 20 < mean_classes_held(0.5) < 90
    assert mean_classes_held(1e4) > 90


def test_min_size_is_kept() -> None:
    parts = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 100, alpha=0.01, min_size=450)
    assert sizes(parts) == [450] * 100


@given(
    targets_strategy,
    st.data(),
    st.floats(-8, 4).map(lambda exponent: 10**exponent),
    st.sampled_from([("hsu", False), ("hsu", True), ("balanced", False)]),
    seeds,
)
def test_client_mixtures_have_equal_sizes(
    targets: np.ndarray, data: st.DataObject, alpha: float, variant: tuple[str, bool], seed: int
) -> None:
    name, is_total = variant
    num_clients = data.draw(st.integers(1, len(targets)))
    parameters = {"alpha": alpha, "variant": name, "alpha_is_total": is_total}
    parts = partition("dirichlet", targets, num_clients, seed, **parameters)
    assert_well_formed(parts, len(targets), num_clients)
    if name == "hsu":
        assert set(sizes(parts)) == {len(targets) // num_clients}
    else:
        assert sum(sizes(parts)) == len(targets)
        assert max(sizes(parts)) - min(sizes(parts)) <= 1
    assert all(map(np.array_equal, parts, partition("dirichlet", targets, num_clients, seed, **parameters)))


def test_hsu_limits_are_one_class_and_the_prior() -> None:
    one_class = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 100, variant="hsu", alpha=1e-8)
    first = label_counts(CIFAR100_TRAINING_TARGETS, one_class[:1], 100)
    assert (first > 0).sum() == 1
    even = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 10, variant="hsu", alpha=1e6)
    assert label_counts(CIFAR100_TRAINING_TARGETS, even, 100).mean() == 45
    assert label_counts(CIFAR100_TRAINING_TARGETS, even, 100)[0].std() < 12


def test_hsu_total_alpha_is_alpha_over_classes_for_a_uniform_prior() -> None:
    total = partition(
        "dirichlet", CIFAR100_TRAINING_TARGETS, 10, variant="hsu", alpha=50.0, alpha_is_total=True
    )
    per_class = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 10, variant="hsu", alpha=0.5)
    assert all(map(np.array_equal, total, per_class))


@pytest.mark.parametrize("variant", ["niid-bench", "plain"])
def test_retried_variants(variant: str) -> None:
    parts = partition("dirichlet", CIFAR100_TRAINING_TARGETS, 50, variant=variant)
    assert_well_formed(parts, 45000, 50)
    assert sum(sizes(parts)) == 45000
    assert min(sizes(parts)) >= 10
    with pytest.raises(UserError, match="after 1000 tries the smallest client has at best 0 samples"):
        partition("dirichlet", np.arange(60) % 2, 6, variant=variant, alpha=1e-8)


@pytest.mark.parametrize(
    ("num_clients", "parameters", "complaint"),
    [
        (2, {"alpa": 1.0}, r"no parameter 'partition\.alpa'; did you mean 'partition\.alpha'\?"),
        (2, {"alpha": 0.0}, "partition.alpha must be greater than 0"),
        (2, {"alpha": -1}, "partition.alpha must be greater than 0"),
        (2, {"alpha": float("nan")}, "partition.alpha must be"),
        (2, {"alpha": float("inf")}, "partition.alpha must be a finite number"),
        (2, {"alpha": "0.5"}, "partition.alpha must be a valid number"),
        (2, {"alpha": True}, "partition.alpha must be a valid number"),
        (2, {"variant": "niid"}, "must be 'repair', 'niid-bench'"),
        (2, {"min-size": -1}, "partition.min-size must be"),
        (2, {"min-size": 11}, "mean client size is 10"),
        (2, {"min-size": 1, "variant": "hsu"}, "no meaning"),
        (2, {"alpha-is-total": True}, "variant 'hsu' only"),
    ],
)
def test_wrong_configuration_is_one_clear_line(
    num_clients: int, parameters: dict[str, object], complaint: str
) -> None:
    check_refused("dirichlet", num_clients, parameters, complaint)
