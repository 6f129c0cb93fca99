"""The partition ``homo`` of InCo Aggregation and NIID-Bench: a permutation cut into equal pieces."""

from typing import Annotated

import numpy as np
from pydantic import Field

from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray, even_pieces


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    legacy_seed: Annotated[int, Field(ge=-1, lt=2**32)] = -1,
) -> Partition:
    """Cut a random permutation of all samples into pieces whose sizes differ by at most one.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    legacy_seed : int, default -1
        Seed of NumPy's legacy generator, as in the authors' code; -1: one derived from the run's.
    """
    seed = legacy_seed if legacy_seed >= 0 else int(generator.integers(2**32))
    order = np.random.RandomState(seed).permutation(len(targets))
    return even_pieces(order, num_clients)
