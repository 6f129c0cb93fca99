"""What a partition looks like: label counts per client, and a hash to compare runs by."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]


def label_counts(targets: IndexArray, partition: Sequence[IndexArray], num_classes: int) -> IndexArray:
    """Return how many samples of each class each client holds, ``(clients, classes)``."""
    return np.stack([np.bincount(targets[indices], minlength=num_classes) for indices in partition])


def write_label_distribution(path: Path, counts: IndexArray, class_names: Sequence[str]) -> None:
    """Write the counts as CSV, a row per client: ``client_id,num_examples,<class names...>``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["client_id", "num_examples", *class_names])
        writer.writerows([client, row.sum(), *row] for client, row in enumerate(counts))


def partition_sha256(partition: Sequence[IndexArray]) -> str:
    """Return a hash of every client's indices in client order, the same on every platform."""
    digest = hashlib.sha256()
    for indices in partition:
        digest.update(len(indices).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
    return digest.hexdigest()
