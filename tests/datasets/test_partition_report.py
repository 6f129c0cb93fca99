import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.partition import Partition
from datasets.partition_report import (
    label_counts,
    read_partition,
    write_partition,
)


@given(
    st.lists(st.lists(st.integers(-1, 3), min_size=2, max_size=2), min_size=6, max_size=6),
    st.permutations(range(6)),
    st.integers(1, 20),
)
def test_label_counts_are_those_of_each_client_alone(
    targets: list[list[int]], order: list[int], at_once: int
) -> None:
    labels, parts = np.array(targets), [np.array(order[:1]), np.array([], int), np.array(order[1:])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.partition_report._MAX_LABELS", at_once)
        counts = label_counts(labels, parts, 4)
    for part, row in zip(parts, counts, strict=True):
        held = labels[part].ravel() if len(part) else np.array([], int)
        assert row.tolist() == [(held == label).sum() for label in range(4)]


def test_the_hash_is_of_each_size_and_its_samples() -> None:
    digest = hashlib.sha256()
    for samples in ([5, 1], [], [7]):
        digest.update(np.array([len(samples), *samples], dtype="<i8").tobytes())
    partition = [np.array([5, 1]), np.array([], dtype=np.int64), np.array([7])]
    assert Partition.of(partition).sha256 == digest.hexdigest()


def test_hash_tells_partitions_apart() -> None:
    one = [np.array([0, 1]), np.array([2])]
    assert Partition.of(one).sha256 == Partition.of([indices.copy() for indices in one]).sha256
    assert Partition.of(one).sha256 == Partition.of([indices.astype(np.int32) for indices in one]).sha256
    assert Partition.of(one).sha256 != Partition.of(one[::-1]).sha256
    assert Partition.of(one).sha256 != Partition.of([np.array([0]), np.array([1, 2])]).sha256


def test_a_stored_partition_is_read_back(tmp_path: Path) -> None:
    partition = [np.array([4, 1]), np.array([0, 2, 70000]), np.array([3])]
    write_partition(tmp_path / "partition.npz", partition)
    read = read_partition(tmp_path / "partition.npz")
    assert [indices.tolist() for indices in read] == [indices.tolist() for indices in partition]
    assert {indices.dtype for indices in read} == {np.dtype(np.int64)}
    assert Partition.of(read).sha256 == Partition.of(partition).sha256
