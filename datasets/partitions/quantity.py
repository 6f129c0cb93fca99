"""Clients of very different sizes, each with a random sample of the classes."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from common.dirichlet import log_dirichlet_weights, normalise
from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray
from datasets.partitions._niid_bench import NIID_BENCH_MIN_SIZE, retried_quantity
from datasets.partitions._repaired_dirichlet import repair


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    beta: Annotated[float, Field(gt=0)] = 0.5,
    variant: Literal["repair", "niid-bench"] = "repair",
    min_size: Annotated[int, Field(ge=0)] = 0,
) -> Partition:
    """Cut the shuffled samples at shares q ~ Dir(beta, ..., beta); a small ``beta`` means unequal sizes.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    beta : float, default 0.5
        Concentration over clients.
    variant : str, default "repair"
        ``niid-bench``: quantity skew of Li et al. (ICDE 2022), drawn again until every client has
        ``min_size`` samples, which practically never happens with many clients. ``repair``: drawn once;
        clients below ``min_size`` are then filled up from the largest ones, so that it always terminates.
    min_size : int, default 0
        Smallest client. 0 stands for 10 (``niid-bench``) or for half the mean size but at most 10
        (``repair``).
    """
    mean_size = len(targets) // num_clients
    if min_size > mean_size:
        raise UserError(
            f"partition.min-size {min_size} is impossible: the mean client size is {mean_size};"
            " lower it or clients.count"
        )
    if variant == "niid-bench":
        legacy_generator = np.random.RandomState(int(generator.integers(2**32)))
        return retried_quantity(
            len(targets), num_clients, beta, legacy_generator, min_size or NIID_BENCH_MIN_SIZE
        )
    order = generator.permutation(len(targets))
    log_weights = log_dirichlet_weights(np.full(num_clients, beta), generator)
    shares = normalise(log_weights, np.ones(num_clients, dtype=bool))
    cuts = (np.cumsum(shares)[:-1] * len(targets)).astype(np.int64)
    sizes = np.diff(cuts, prepend=0, append=len(targets))
    # Labels do not matter here: repairing the sizes is repairing a table of one class.
    repair(sizes[:, None], min_size or max(1, min(NIID_BENCH_MIN_SIZE, len(targets) // (2 * num_clients))))
    return Partition.of_sizes(order, sizes).sorted()
