"""Samples dealt evenly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@given(targets_strategy, st.data(), seeds, st.booleans())
def test_iid_uses_all_samples_evenly(
    targets: np.ndarray, data: st.DataObject, seed: int, stratified: bool
) -> None:
    num_clients = data.draw(st.integers(1, len(targets)))
    parts = partition("iid", targets, num_clients, seed, stratified=stratified)
    assert_well_formed(parts, len(targets), num_clients)
    assert sum(sizes(parts)) == len(targets)
    assert max(sizes(parts)) - min(sizes(parts)) <= 1
    if stratified:
        assert np.ptp(label_counts(targets, parts, 6), axis=0).max() <= 1


def test_iid_on_cifar100_gives_4_or_5_of_every_class() -> None:
    parts = partition("iid", CIFAR100_TRAINING_TARGETS, 100)
    assert sizes(parts) == [450] * 100
    assert set(label_counts(CIFAR100_TRAINING_TARGETS, parts, 100).ravel()) == {4, 5}


@pytest.mark.parametrize(
    ("num_clients", "parameters", "complaint"),
    [
        (21, {}, "more than the 20 training samples"),
        (0, {}, "at least 1"),
        (2, {"stratified": 1}, "must be a valid boolean"),
    ],
)
def test_wrong_configuration_is_one_clear_line(
    num_clients: int, parameters: dict[str, object], complaint: str
) -> None:
    check_refused("iid", num_clients, parameters, complaint)
