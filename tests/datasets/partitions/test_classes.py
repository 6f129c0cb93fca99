"""A number of classes per client."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from datasets.partition_report import label_counts
from datasets.partitions import make_partition
from tests.datasets.partitions.deals import (
    CIFAR100_TRAINING_TARGETS,
    assert_well_formed,
    check_refused,
    partition,
    seeds,
    sizes,
)


@pytest.mark.parametrize("classes_per_client", [1, 5, 10, 50, 100])
def test_classes_on_cifar100(classes_per_client: int) -> None:
    parts = partition("classes", CIFAR100_TRAINING_TARGETS, 100, classes_per_client=classes_per_client)
    assert_well_formed(parts, 45000, 100)
    assert sizes(parts) == [450] * 100
    counts = label_counts(CIFAR100_TRAINING_TARGETS, parts, 100)
    if 450 % classes_per_client == 0:
        assert set(counts.ravel()) - {0} == {450 // classes_per_client}
    assert ((counts > 0).sum(axis=1) == classes_per_client).all()
    # Label sets are random: far more than the 100 / N_c of the cyclic deal.
    if classes_per_client in (5, 10, 50):
        assert len(np.unique(counts > 0, axis=0)) > 100 / classes_per_client


@given(st.lists(st.integers(20, 60), min_size=2, max_size=12), st.integers(1, 20), st.data(), seeds)
def test_classes_invariants(class_sizes: list[int], num_clients: int, data: st.DataObject, seed: int) -> None:
    classes_per_client = data.draw(st.integers(1, len(class_sizes)))
    targets = np.repeat(np.arange(len(class_sizes)), class_sizes)
    parts = partition("classes", targets, num_clients, seed, classes_per_client=classes_per_client)
    assert_well_formed(parts, len(targets), num_clients)
    assert max(sizes(parts)) - min(sizes(parts)) <= 1
    counts = label_counts(targets, parts, len(class_sizes))
    assert ((counts > 0).sum(axis=1) == classes_per_client).all()
    again = partition("classes", targets, num_clients, seed, classes_per_client=classes_per_client)
    assert all(map(np.array_equal, parts, again))


def test_classes_reports_unused_classes_and_leaves_samples_out() -> None:
    with pytest.warns(UserWarning, match="no client holds the classes"):
        make_partition(
            "classes", np.repeat([0, 1, 2, 3], 5), 2, np.random.default_rng(0), {"classes-per-client": 1}
        )
    parts = make_partition(
        "classes", np.repeat([0, 1], [5, 10]), 2, np.random.default_rng(0), {"classes-per-client": 1}
    )
    assert sorted(parts.sizes) == [5, 6]


def test_classes_skips_labels_without_samples() -> None:
    parts = partition("classes", np.repeat([1, 4], 6), 3, classes_per_client=2)
    assert sizes(parts) == [4, 4, 4]


@given(st.lists(st.integers(20, 60), min_size=2, max_size=12), st.integers(1, 20), st.data(), seeds)
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


@pytest.mark.parametrize(
    ("num_clients", "parameters", "complaint"),
    [
        (2, {"classes-per-client": 3}, "between 1 and the number of classes"),
        (2, {"classes-per-client": 0}, "between 1 and the number of classes"),
        (2, {"classes-per-client": 1.5}, "must be a valid integer"),
        (15, {"classes-per-client": 2}, "class 0 has 10 samples for 15 clients"),
        (2, {"variant": "hsu"}, "must be 'balanced' or 'niid-bench'"),
        (2, {"classes-per-client": 3, "variant": "niid-bench"}, "between 1 and"),
    ],
)
def test_wrong_configuration_is_one_clear_line(
    num_clients: int, parameters: dict[str, object], complaint: str
) -> None:
    check_refused("classes", num_clients, parameters, complaint)
