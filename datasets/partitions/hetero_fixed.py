"""The partition ``hetero-fixed`` of InCo Aggregation: one realisation for all methods and seeds."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from common.client_tables import DAMAGED_NPZ
from common.errors import UserError
from common.files import expanded, read_json
from datasets.partition import Partition
from datasets.partition_report import read_partition
from datasets.partitions._dealing import IndexArray
from datasets.partitions._niid_bench import NIID_BENCH_MIN_SIZE, niid_bench_dirichlet


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    alpha: Annotated[float, Field(gt=0)] = 0.5,
    legacy_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0,
    min_size: Annotated[int, Field(ge=0)] = NIID_BENCH_MIN_SIZE,
    file: str = "",
    all_samples: bool = True,
) -> Partition:
    """Return the partition of a file, or else that of ``hetero`` with a seed independent of the run's.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`; nothing is drawn from the generator.
    alpha, legacy_seed
        Parameters of the generated partition.
    min_size : int, default 10
        Smallest client that is accepted.
    file : str, default ""
        ``partition.npz`` of a run, or JSON: a list of lists of sample indices, one per client.
    all_samples : bool, default True
        Whether a file must hold every sample. The authors' Fashion-MNIST runs use the file of CIFAR-10,
        which leaves out 10,000 samples.

    Raises
    ------
    UserError
        If the file cannot be read or does not fit the data and the clients.
    """
    if not file:
        return niid_bench_dirichlet(targets, num_clients, alpha, legacy_seed, min_size)
    parts = _read(file)
    if len(parts) != num_clients:
        raise _misfit(file, f"it has {len(parts)} clients, and clients.count is {num_clients}")
    indices = parts.indices
    if indices.size and not 0 <= indices.min() <= indices.max() < len(targets):
        raise _misfit(file, f"its indices do not run from 0 to {len(targets) - 1}, the data's last sample")
    if len(np.unique(indices)) != len(indices):
        raise _misfit(file, "a sample is in it twice")
    if all_samples and len(indices) != len(targets):
        missing = len(targets) - len(indices)
        raise _misfit(file, f"it leaves out {missing} samples (partition.all-samples = false allows that)")
    smallest = int(parts.sizes.min())
    if smallest < max(1, min_size):
        raise _misfit(file, f"its smallest client has {smallest} samples (partition.min-size is {min_size})")
    return parts.sorted()


def _read(file: str) -> Partition:
    path = expanded(file, "partition.file")
    if not path.is_file():
        raise UserError(f"partition.file: there is no file '{file}'")
    try:
        if path.suffix == ".npz":
            return read_partition(path)
        content = read_json(path)
        if not isinstance(content, list):
            raise ValueError("it is not a list")
        return Partition.of(map(_indices, content))
    except (*DAMAGED_NPZ, UserError) as error:
        raise UserError(
            f"partition.file: '{file}' is neither a partition.npz nor a JSON list of lists: {error}"
        ) from None


def _indices(values: Any) -> IndexArray:
    array = np.array(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError("a client's indices are a list of whole numbers")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError("an index is beyond 64 bits")
    return array.astype(np.int64)


def _misfit(file: str, reason: str) -> UserError:
    return UserError(f"partition.file: '{file}' does not fit: {reason}")
