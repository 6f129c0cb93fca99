"""The Dirichlet partition of NIID-Bench, bit for bit."""

import numpy as np

from common.errors import UserError
from datasets.partitions._dealing import IndexArray

_MAX_TRIES = 1000


def niid_bench_dirichlet(
    targets: IndexArray, num_clients: int, alpha: float, seed: int, min_size: int = 10
) -> list[IndexArray]:
    """Return the partition that NIID-Bench's ``noniid-labeldir`` makes after ``numpy.random.seed(seed)``.

    Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022. Each client's
    indices are the same as there, but sorted.
    """
    return retried_dirichlet(targets, num_clients, alpha, np.random.RandomState(seed), min_size, masked=True)


def retried_dirichlet(
    targets: IndexArray,
    num_clients: int,
    alpha: float,
    legacy_generator: np.random.RandomState,
    min_size: int,
    *,
    masked: bool,
) -> list[IndexArray]:
    """Cut each class by a Dirichlet draw over the clients; start again while a client is too small.

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
        smallest = min(len(indices) for indices in attempt)
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
) -> list[IndexArray]:
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
    by_owner = np.argsort(owner, kind="stable")
    return np.split(by_owner, np.cumsum(client_sizes)[:-1])
