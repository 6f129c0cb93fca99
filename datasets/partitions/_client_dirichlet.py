"""Clients of equal size, each with its own class mixture (Hsu et al. 2019)."""

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from common.dirichlet import FloatArray, log_dirichlet_weights, normalise
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray, class_pools, deal

Mixture = Callable[[npt.NDArray[np.bool_]], FloatArray]


def client_mixtures(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    alpha: float,
    alpha_is_total: bool,
    *,
    use_all: bool,
) -> Partition:
    """Let each client draw samples without replacement from its own Dirichlet mixture of classes.

    Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification" (2019), section 3: ``q ~ Dir(alpha * p)`` with ``p`` the prior class distribution.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    alpha : float
        Concentration.
    alpha_is_total : bool
        Whether ``alpha`` is multiplied by the prior, as in the paper, or applies to every class.
    use_all : bool
        Whether the first clients get one sample more if the samples do not divide evenly; otherwise the
        remainder is left out.
    """
    pools = class_pools(targets)
    remaining = np.array([len(pool) for pool in pools])
    prior = remaining / remaining.sum()
    concentration = alpha * prior if alpha_is_total else np.full(len(pools), alpha)
    size, rest = divmod(len(targets), num_clients)
    counts = np.zeros((num_clients, len(pools)), dtype=np.int64)
    for client in range(num_clients):
        log_weights = log_dirichlet_weights(concentration, generator)
        client_size = size + (use_all and client < rest)
        mixture = functools.partial(normalise, log_weights)
        counts[client] = draw_classes(mixture, client_size, remaining, generator)
        remaining -= counts[client]
    return deal(pools, counts, generator)


def draw_classes(
    mixture: Mixture, size: int, remaining: IndexArray, generator: np.random.Generator
) -> IndexArray:
    """Draw ``size`` labels one by one; a class that is exhausted drops out.

    Labels are drawn in bulk and kept up to the first whose class is exhausted, which does not change the
    distribution.

    Parameters
    ----------
    mixture : callable
        Maps a mask of the classes that are left to the probabilities of all classes.
    size : int
        Number of labels.
    remaining : numpy.ndarray
        Samples left in each class.
    generator : numpy.random.Generator
        Source of the draws.
    """
    counts = np.zeros_like(remaining)
    while (missing := size - int(counts.sum())) > 0:
        left = remaining - counts
        labels = generator.choice(len(left), size=missing, p=mixture(left > 0))
        valid = missing
        for label in np.flatnonzero(np.bincount(labels, minlength=len(left)) > left):
            valid = min(valid, np.flatnonzero(labels == label)[left[label]])
        counts += np.bincount(labels[:valid], minlength=len(left))
    return counts
