"""Partitions of NIID-Bench, bit for bit: Dirichlet label skew, a number of labels, quantity skew.

Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022. Clients hold the same
samples as there, but sorted.
"""

import random

import numpy as np

from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray

NIID_BENCH_MIN_SIZE = 10
_MAX_TRIES = 1000


def niid_bench_dirichlet(
    targets: IndexArray, num_clients: int, alpha: float, seed: int, min_size: int = 10
) -> Partition:
    """Return the partition that NIID-Bench's ``noniid-labeldir`` makes after ``numpy.random.seed(seed)``."""
    return retried_dirichlet(targets, num_clients, alpha, np.random.RandomState(seed), min_size, masked=True)


def retried_dirichlet(
    targets: IndexArray,
    num_clients: int,
    alpha: float,
    legacy_generator: np.random.RandomState,
    min_size: int,
    *,
    masked: bool,
) -> Partition:
    """Cut each class by a Dirichlet draw over the clients; repeat until no client is too small.

    Parameters
    ----------
    targets : numpy.ndarray
        Labels.
    num_clients : int
        Number of clients.
    alpha : float
        Concentration over clients.
    legacy_generator : numpy.random.RandomState
        NumPy's legacy generator, whose stream the published partitions depend on.
    min_size : int
        Smallest client that is accepted.
    masked : bool
        Whether clients that hold their fair share get nothing of the classes still to come.

    Raises
    ------
    UserError
        If a thousand tries did not do.
    """
    best = 0
    for _ in range(_MAX_TRIES):
        attempt = _attempt(targets, num_clients, alpha, legacy_generator, masked)
        smallest = int(attempt.sizes.min())
        if smallest >= min_size:
            return attempt
        best = max(best, smallest)
    raise UserError(
        f"partition 'dirichlet': after {_MAX_TRIES} tries the smallest client has at best {best} samples"
        f" instead of {min_size}; use partition.variant = 'repair', or lower partition.min-size or"
        " clients.count, or raise partition.alpha"
    )


def _attempt(
    targets: IndexArray,
    num_clients: int,
    alpha: float,
    legacy_generator: np.random.RandomState,
    masked: bool,
) -> Partition:
    # The order of draws (shuffle, then Dirichlet) and the floating-point steps are NIID-Bench's.
    fair_share = len(targets) / num_clients
    owner = np.empty(len(targets), dtype=np.int64)
    client_sizes = np.zeros(num_clients, dtype=np.int64)
    for label in range(int(targets.max()) + 1):
        pool = np.flatnonzero(targets == label)
        legacy_generator.shuffle(pool)
        proportions = legacy_generator.dirichlet(np.repeat(alpha, num_clients))
        if masked:
            proportions = proportions * (client_sizes < fair_share)
        total = proportions.sum()
        # For a tiny alpha the legacy generator underflows; the first client then takes the class.
        proportions = proportions / total if total > 0 else np.eye(1, num_clients)[0]
        cuts = (np.cumsum(proportions) * len(pool)).astype(np.int64)[:-1]
        takes = np.diff(cuts, prepend=0, append=len(pool))
        owner[pool] = np.repeat(np.arange(num_clients), takes)
        client_sizes += takes
    return Partition.of_owners(owner, num_clients)


def retried_quantity(
    num_samples: int,
    num_clients: int,
    beta: float,
    legacy_generator: np.random.RandomState,
    min_size: int,
) -> Partition:
    """Return the partition of NIID-Bench's ``iid-diff-quantity``.

    Cuts a permutation at shares from a Dirichlet distribution; repeats until no client is too small.

    As published, a share must amount to ``min_size`` samples before the cuts are rounded down, so that a
    client may end up with one sample less.

    Raises
    ------
    UserError
        If a thousand tries did not do.
    """
    order = legacy_generator.permutation(num_samples)
    best = 0.0
    for _ in range(_MAX_TRIES):
        shares = legacy_generator.dirichlet(np.repeat(beta, num_clients))
        shares = shares / shares.sum()
        smallest = float(np.min(shares * num_samples))
        if smallest >= min_size:
            cuts = (np.cumsum(shares) * num_samples).astype(np.int64)[:-1]
            sizes = np.diff(cuts, prepend=0, append=num_samples)
            return Partition.of_sizes(order, sizes).sorted()
        best = max(best, smallest)
    raise UserError(
        f"partition 'quantity': after {_MAX_TRIES} tries the smallest client has at best {best:.0f} samples"
        f" instead of {min_size}; use partition.variant = 'repair', or lower partition.min-size or"
        " clients.count, or raise partition.beta"
    )


def niid_bench_label_owners(
    num_classes: int, num_clients: int, classes_per_client: int, generator: random.Random
) -> list[list[int]]:
    """Return each client's labels in NIID-Bench's ``noniid-#label<n>``: i mod L, others drawn at random."""
    owners = []
    for client in range(num_clients):
        labels = [client % num_classes]
        while len(labels) < classes_per_client:
            label = generator.randint(0, num_classes - 1)
            if label not in labels:
                labels.append(label)
        owners.append(labels)
    return owners


def niid_bench_labels(
    targets: IndexArray,
    num_clients: int,
    classes_per_client: int,
    label_generator: random.Random,
    legacy_generator: np.random.RandomState,
) -> Partition:
    """Cut each class evenly among its owners, as ``noniid-#label<n>`` does, except its case n = 10.

    NIID-Bench then gives every client the classes 0 to 9, whatever the data set. Client sizes differ, and
    classes without an owner are not used.
    """
    num_classes = int(targets.max()) + 1
    owners = niid_bench_label_owners(num_classes, num_clients, classes_per_client, label_generator)
    hands: list[list[IndexArray]] = [[] for _ in range(num_clients)]
    for label in range(num_classes):
        pool = np.flatnonzero(targets == label)
        legacy_generator.shuffle(pool)
        holders = [client for client, labels in enumerate(owners) if label in labels]
        for client, piece in zip(holders, np.array_split(pool, max(1, len(holders))), strict=False):
            hands[client].append(piece)
    return Partition.of(np.concatenate(pieces) for pieces in hands).sorted()
