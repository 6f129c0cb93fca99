"""The partition of FedLoGe's long-tailed experiments: classes dealt by independent draws, bit for bit."""

from typing import Annotated

import numpy as np
from pydantic import Field

from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray

PUBLISHED_ALPHA, PUBLISHED_SEED = 0.5, 3407


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    alpha: Annotated[float, Field(gt=0)] = PUBLISHED_ALPHA,
    legacy_seed: Annotated[int, Field(ge=-1, lt=2**32)] = PUBLISHED_SEED,
) -> Partition:
    """Draw p ~ Dir(alpha, ..., alpha) over the clients for each class, and the owner of each sample from p.

    Xiao et al., "FedLoGe: Joint Local and Generic Federated Learning under Long-tailed Data" (ICLR 2024), and
    its code. Shares are multinomial, not proportions cut with rounding, and no client is repaired.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    alpha : float, default 0.5
        Concentration; a small one means strong skew.
    legacy_seed : int, default 3407
        Seed of NumPy's legacy generator, as in the authors' code; -1: one derived from the run's.

    Raises
    ------
    UserError
        If a client gets no sample.
    """
    parts = deal_classes(targets, num_clients, alpha, legacy_generator(legacy_seed, generator))
    if not parts.sizes.all():
        raise UserError(
            f"partition 'fed-lt': client {parts.sizes.argmin()} gets no sample; choose another"
            " partition.legacy-seed, a larger partition.alpha or a smaller clients.count"
        )
    return parts


def legacy_generator(legacy_seed: int, generator: np.random.Generator) -> np.random.RandomState:
    """Return the legacy generator of a seed; -1: of a seed drawn from `generator`."""
    return np.random.RandomState(legacy_seed if legacy_seed >= 0 else int(generator.integers(2**32)))


def deal_classes(
    targets: IndexArray, num_clients: int, alpha: float, generator: np.random.RandomState
) -> Partition:
    """Return the clients' sorted indices; a client may have none."""
    num_classes = int(targets.max()) + 1
    # In the authors' code each client may have each class with probability 1: a draw of ones, which still
    # takes its numbers from the stream.
    generator.binomial(1, 1.0, (num_clients, num_classes))
    owners = np.empty(len(targets), dtype=np.int64)
    for label in range(num_classes):
        pool = np.flatnonzero(targets == label)
        shares = generator.dirichlet(np.repeat(alpha, num_clients))
        owners[pool] = generator.choice(num_clients, size=len(pool), p=shares)
    return Partition.of_owners(owners, num_clients)


def generator_after(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    alpha: float,
    legacy_seed: int,
) -> np.random.RandomState:
    """Return the legacy generator as the partition leaves it: the authors draw local test sets from it."""
    legacy = legacy_generator(legacy_seed, generator)
    deal_classes(targets, num_clients, alpha, legacy)
    return legacy
