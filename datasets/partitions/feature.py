"""Feature heterogeneity: clients with the same labels, derived from different classes."""

from typing import Annotated

import numpy as np
from pydantic import Field

from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray
from datasets.partitions._pools import deal_pools


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    classes: IndexArray,
    *,
    heterogeneity: Annotated[float, Field(ge=0, le=1)] = 0.5,
) -> Partition:
    """Deal a share of the samples at random, and the rest of every label in the order of its classes.

    Bao, Crawshaw and Liu (ICML 2024), FeatureCIFAR: with ``dataset.binarize`` the labels of all clients stay
    balanced, while a client sees only one or two of the classes behind each label. All clients have the
    same number of samples; the remainder is left out.

    Parameters
    ----------
    targets, num_clients, generator, classes
        See `datasets.partitions.make_partition`.
    heterogeneity : float, default 0.5
        q: this share of the samples is dealt by class.
    """
    order = generator.permutation(len(targets))
    return feature_partition(order, targets, classes, num_clients, heterogeneity).sorted()


def feature_partition(
    order: IndexArray, targets: IndexArray, classes: IndexArray, num_clients: int, heterogeneity: float
) -> Partition:
    """Return the clients' samples in the order in which they are dealt.

    Parameters
    ----------
    order : numpy.ndarray
        A permutation of the samples: its first round(q n) are dealt by class, where samples of the same
        class keep their order.
    targets, classes : numpy.ndarray
        Label of every sample, and the class from which it was derived.
    """
    num_sorted = round(heterogeneity * len(order))
    by_class, shared = order[:num_sorted], order[num_sorted:]
    pools = []
    for label in np.unique(targets):
        pool = by_class[targets[by_class] == label]
        pools.append(pool[np.argsort(classes[pool], kind="stable")])
    return deal_pools(shared, pools, num_clients)
