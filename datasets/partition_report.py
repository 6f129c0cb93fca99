"""Reports on a partition: label counts per client, the indices, and a hash to compare runs."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.files import write_atomic
from datasets.partition import IndexArray, Partition

_MAX_LABELS = 4_000_000  # counted at once, to bound the memory


def label_counts(targets: npt.ArrayLike, partition: Sequence[IndexArray], num_classes: int) -> IndexArray:
    """Return how many targets of each class each client holds, ``(clients, classes)``.

    Parameters
    ----------
    targets : array
        Integers, (samples,) or (samples, positions); those below 0 do not count.
    partition : sequence of numpy.ndarray
        The clients' samples.
    num_classes : int
        C: targets lie below it.
    """
    labels = np.asarray(targets)
    labels = labels.reshape(len(labels), -1)
    dealt = Partition.of(partition)
    counts = np.zeros((len(dealt), num_classes), dtype=np.int64)
    first = 0
    while first < len(dealt):
        most = dealt.offsets[first] + _MAX_LABELS // labels.shape[1]
        end = max(first + 1, int(np.searchsorted(dealt.offsets, most, side="right")) - 1)
        samples = dealt.indices[dealt.offsets[first] : dealt.offsets[end]]
        owners = np.repeat(np.arange(end - first), np.diff(dealt.offsets[first : end + 1]))
        cells = owners[:, None] * num_classes + labels[samples]
        cells = cells[labels[samples] >= 0]
        counts[first:end] = np.bincount(cells, minlength=(end - first) * num_classes).reshape(-1, num_classes)
        first = end
    return counts


def write_partition(path: Path, partition: Sequence[IndexArray]) -> None:
    """Write the clients' indices into the training set as npz: ``indices``, concatenated, and ``sizes``."""
    dealt, content = Partition.of(partition), io.BytesIO()
    np.savez_compressed(content, indices=dealt.indices.astype(np.int32), sizes=dealt.sizes)
    write_atomic(path, content.getvalue())


def read_partition(path: Path) -> Partition:
    """Read a file that ``write_partition`` wrote; a damaged one raises one of ``DAMAGED_NPZ``."""
    with np.load(path) as content:
        indices, sizes = content["indices"], content["sizes"]
    if indices.size and indices.dtype.kind not in "iu":
        raise ValueError("its indices are not whole numbers")
    indices = indices.astype(np.int64)
    if indices.ndim != 1 or sizes.ndim != 1 or len(sizes) == 0 or sizes.dtype.kind not in "iu":
        raise ValueError("its arrays are not those of a partition")
    if sizes.min() < 0 or sizes.sum() != len(indices):
        raise ValueError("its sizes do not add up to its indices")
    return Partition.of_sizes(indices, sizes)
