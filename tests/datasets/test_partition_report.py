import csv
from pathlib import Path

import numpy as np

from datasets.partition_report import label_counts, partition_sha256, write_label_distribution


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
