import csv
from pathlib import Path

import numpy as np

from datasets.partition_report import (
    label_counts,
    partition_sha256,
    read_partition,
    write_label_distribution,
    write_partition,
)


def test_label_counts_and_csv(tmp_path: Path) -> None:
    targets = np.array([0, 2, 2, 0, 1])
    counts = label_counts(targets, [np.array([0, 1, 2]), np.array([3])], 3)
    assert counts.tolist() == [[1, 0, 2], [1, 0, 0]]
    write_label_distribution(tmp_path / "labels.csv", counts, ("ant", "bee, wasp", "cat"))
    with (tmp_path / "labels.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["client_id", "num_examples", "ant", "bee, wasp", "cat"],
            ["0", "3", "1", "0", "2"],
            ["1", "1", "1", "0", "0"],
        ]


def test_hash_tells_partitions_apart() -> None:
    one = [np.array([0, 1]), np.array([2])]
    assert partition_sha256(one) == partition_sha256([indices.copy() for indices in one])
    assert partition_sha256(one) == partition_sha256([indices.astype(np.int32) for indices in one])
    assert partition_sha256(one) != partition_sha256(one[::-1])
    assert partition_sha256(one) != partition_sha256([np.array([0]), np.array([1, 2])])


def test_a_stored_partition_is_read_back(tmp_path: Path) -> None:
    partition = [np.array([4, 1]), np.array([0, 2, 70000]), np.array([3])]
    write_partition(tmp_path / "partition.npz", partition)
    read = read_partition(tmp_path / "partition.npz")
    assert [indices.tolist() for indices in read] == [indices.tolist() for indices in partition]
    assert {indices.dtype for indices in read} == {np.dtype(np.int64)}
    assert partition_sha256(read) == partition_sha256(partition)
