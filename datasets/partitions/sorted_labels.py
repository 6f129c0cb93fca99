"""Label heterogeneity: a share of the samples is dealt in the order of the labels."""

from typing import Annotated

import numpy as np
from pydantic import Field

from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray, class_pools
from datasets.partitions._pools import deal_pools


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    heterogeneity: Annotated[float, Field(ge=0, le=1)] = 0.5,
) -> Partition:
    """Deal a share of every label at random and the rest sorted by label (Bao, Crawshaw and Liu, ICML 2024).

    All clients have the same number of samples; the remainder is left out. The authors' partition does not
    depend on the seed; this one does, like the others here.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    heterogeneity : float, default 0.5
        q: this share of every label is dealt in the order of the labels; 0 is iid.
    """
    if num_clients == 1 and heterogeneity > 0:
        raise UserError("partition 'sorted-labels' with one client needs partition.heterogeneity = 0")
    shared, by_label = [], []
    for pool in class_pools(targets):
        order = generator.permutation(pool)
        num_shared = round((1 - heterogeneity) * len(order))
        shared.append(order[:num_shared])
        by_label.append(order[num_shared:])
    mixed = generator.permutation(np.concatenate(shared))
    return deal_pools(mixed, [np.concatenate(by_label)], num_clients).sorted()
