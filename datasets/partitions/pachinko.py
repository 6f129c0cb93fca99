"""Pachinko allocation over the two levels of CIFAR-100's labels, as in TFF's federated CIFAR-100."""

from typing import Annotated

import numpy as np
from pydantic import Field

from common.dirichlet import FloatArray, log_dirichlet_weights, normalise
from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._client_dirichlet import draw_classes
from datasets.partitions._dealing import IndexArray, class_pools, deal

_NUM_COARSE = 20
# The coarse label of each fine label of CIFAR-100 (Krizhevsky 2009, section 3.1), both in alphabetical order.
COARSE_OF_FINE = np.array(
    [
        4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
        6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
        16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
        12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
    ]
)  # fmt: skip


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    coarse_alpha: Annotated[float, Field(gt=0)] = 0.1,
    fine_alpha: Annotated[float, Field(gt=0)] = 10.0,
) -> Partition:
    """Give every client its own mixture of the 20 coarse classes and, within each, of its 5 fine classes.

    Reddi et al., "Adaptive Federated Optimization" (ICLR 2021), appendix on a federated CIFAR-100, after Li
    and McCallum (2006). Samples are drawn one by one without replacement; a fine class that is exhausted
    drops out of its coarse class, and a coarse class with no fine class left drops out, too. Client sizes are
    equal. The published setting is 500 clients with 100 images each.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`; the targets are CIFAR-100's fine labels.
    coarse_alpha, fine_alpha : float, default 0.1 and 10
        Concentrations of a client's distributions over coarse classes, and over the fine classes of each.
    """
    if targets.max() != len(COARSE_OF_FINE) - 1:
        raise UserError("partition 'pachinko' needs the 100 labels of CIFAR-100; use partition 'dirichlet'")
    size = len(targets) // num_clients
    pools = class_pools(targets)
    remaining = np.array([len(pool) for pool in pools])
    counts = np.zeros((num_clients, len(pools)), dtype=np.int64)
    for client in range(num_clients):
        coarse = log_dirichlet_weights(np.full(_NUM_COARSE, coarse_alpha), generator)
        fine = log_dirichlet_weights(np.full(len(pools), fine_alpha), generator)
        mixture = _Mixture(coarse, fine)
        counts[client] = draw_classes(mixture, size, remaining, generator)
        remaining -= counts[client]
    return deal(pools, counts, generator)


class _Mixture:
    """A client's probabilities of the fine classes, given which classes are left."""

    def __init__(self, log_coarse: FloatArray, log_fine: FloatArray) -> None:
        self._log_coarse, self._log_fine = log_coarse, log_fine

    def __call__(self, left: np.ndarray) -> FloatArray:
        probabilities = np.zeros(len(left))
        coarse_left = np.bincount(COARSE_OF_FINE[left], minlength=_NUM_COARSE) > 0
        coarse = normalise(self._log_coarse, coarse_left)
        for label in np.flatnonzero(coarse_left):
            members = label == COARSE_OF_FINE
            probabilities[members] = coarse[label] * normalise(self._log_fine[members], left[members])
        return probabilities
