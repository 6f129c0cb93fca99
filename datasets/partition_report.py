"""What a partition looks like: label counts per client, the indices, and a hash to compare runs by."""

import csv
import hashlib
import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.files import write_atomic

IndexArray = npt.NDArray[np.int64]

# What reading a damaged .npz raises: a broken archive, a cut or foreign array, pickles, sizes of terabytes.
DAMAGED_NPZ = (
    ValueError, KeyError, TypeError, OSError, EOFError, MemoryError, OverflowError, NotImplementedError,
    RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def label_counts(targets: IndexArray, partition: Sequence[IndexArray], num_classes: int) -> IndexArray:
    """Return how many samples of each class each client holds, ``(clients, classes)``."""
    return np.stack([np.bincount(targets[indices], minlength=num_classes) for indices in partition])


def write_label_distribution(
    path: Path, sizes: IndexArray, counts: IndexArray, class_names: Sequence[str]
) -> None:
    """Write the counts as CSV, a row per client: ``client_id,num_examples,<class names...>``.

    Without class names it has no counts: the clients keep them for themselves.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["client_id", "num_examples", *class_names])
        for client, (size, row) in enumerate(zip(sizes, counts, strict=True)):
            writer.writerow([client, size, *(row if class_names else ())])


def partition_sha256(partition: Sequence[IndexArray]) -> str:
    """Return a hash of every client's indices in client order, the same on every platform."""
    digest = hashlib.sha256()
    for indices in partition:
        digest.update(len(indices).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(indices, dtype="<i8").tobytes())
    return digest.hexdigest()


def write_partition(path: Path, partition: Sequence[IndexArray]) -> None:
    """Write the clients' indices into the training set: ``indices``, end to end, and ``sizes``, as npz."""
    content = io.BytesIO()
    sizes = np.array([len(indices) for indices in partition], dtype=np.int64)
    np.savez_compressed(content, indices=np.concatenate(partition).astype(np.int32), sizes=sizes)
    write_atomic(path, content.getvalue())


def read_partition(path: Path) -> list[IndexArray]:
    """Read what ``write_partition`` wrote; a damaged file raises one of ``DAMAGED_NPZ``."""
    with np.load(path) as content:
        indices, sizes = content["indices"], content["sizes"]
    if indices.size and indices.dtype.kind not in "iu":
        raise ValueError("its indices are not whole numbers")
    indices = indices.astype(np.int64)
    if indices.ndim != 1 or sizes.ndim != 1 or len(sizes) == 0 or sizes.dtype.kind not in "iu":
        raise ValueError("its arrays are not those of a partition")
    if sizes.min() < 0 or sizes.sum() != len(indices):
        raise ValueError("its sizes do not add up to its indices")
    return np.split(indices, np.cumsum(sizes)[:-1])
