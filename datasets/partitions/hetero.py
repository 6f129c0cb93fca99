"""The partition ``hetero`` of InCo Aggregation and NIID-Bench: Dirichlet label skew, bit for bit."""

from typing import Annotated

import numpy as np
from pydantic import Field

from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray
from datasets.partitions._niid_bench import NIID_BENCH_MIN_SIZE, niid_bench_dirichlet


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    alpha: Annotated[float, Field(gt=0)] = 0.5,
    legacy_seed: Annotated[int, Field(ge=-1, lt=2**32)] = -1,
    min_size: Annotated[int, Field(ge=0)] = NIID_BENCH_MIN_SIZE,
) -> Partition:
    """Cut each class by a Dirichlet draw over the clients; repeat until all have ``min_size`` samples.

    Clients that hold their fair share get nothing of the remaining classes. The same as ``dirichlet`` with
    ``partition.variant = "niid-bench"``, except that the seed can be set.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    alpha : float, default 0.5
        Concentration; a small one means strong skew.
    legacy_seed : int, default -1
        Seed of NumPy's legacy generator, as in the authors' code; -1: one derived from the run's.
    min_size : int, default 10
        Smallest client that is accepted.
    """
    seed = legacy_seed if legacy_seed >= 0 else int(generator.integers(2**32))
    return niid_bench_dirichlet(targets, num_clients, alpha, seed, min_size)
