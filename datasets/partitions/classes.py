"""A fixed number of labels per client, with client sizes that differ by at most one."""

import random
import warnings
from typing import Literal

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray, class_pools, deal
from datasets.partitions._niid_bench import niid_bench_labels
from datasets.partitions._top_up import top_up


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    classes_per_client: int = 2,
    variant: Literal["balanced", "niid-bench"] = "balanced",
) -> Partition:
    """Give every client samples of exactly ``classes_per_client`` labels.

    The label-skew setting of McMahan et al. (2017), built so that it cannot fail: label sets are random,
    no shard straddles two labels, and client sizes differ by at most one. Samples that would break this
    are left out, which a run counts.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    classes_per_client : int, default 2
        Number of labels that each client holds.
    variant : str, default "balanced"
        ``balanced`` is described above. ``niid-bench``: ``noniid-#label`` of Li et al. (ICDE 2022), for
        comparison with published results: client i holds label i mod L and others at random, each class is
        cut evenly among its owners, sizes differ.
    """
    pools = [pool for pool in class_pools(targets) if len(pool) > 0]
    if not 1 <= classes_per_client <= len(pools):
        raise UserError(
            f"partition.classes-per-client must lie between 1 and the number of classes ({len(pools)}),"
            f" got {classes_per_client}"
        )
    labels = np.array([targets[pool[0]] for pool in pools])
    if variant == "niid-bench":
        parts = niid_bench_labels(
            np.searchsorted(labels, targets),  # numbered without gaps
            num_clients,
            classes_per_client,
            random.Random(int(generator.integers(2**32))),
            np.random.RandomState(int(generator.integers(2**32))),
        )
        _check_hands(parts)
        return parts
    pool_sizes = np.array([len(pool) for pool in pools])
    owners_per_class = _owners_per_class(len(pools), num_clients, classes_per_client, generator)
    _check_pools(labels, pool_sizes, owners_per_class)
    owns = _assign_owners(owners_per_class, num_clients, classes_per_client, generator)

    used = owners_per_class > 0
    base = int(np.min(pool_sizes[used] // owners_per_class[used]))
    counts = owns * base
    top_up(counts, owns, np.where(used, pool_sizes - base * owners_per_class, 0))
    if not used.all():
        unused = ", ".join(str(label) for label in labels[~used])
        warnings.warn(f"partition 'classes': no client holds the classes {unused}", stacklevel=2)
    return deal(pools, counts, generator)


def _owners_per_class(
    num_classes: int, num_clients: int, classes_per_client: int, generator: np.random.Generator
) -> IndexArray:
    each, extra = divmod(num_clients * classes_per_client, num_classes)
    owners = np.full(num_classes, each)
    owners[generator.permutation(num_classes)[:extra]] += 1
    return owners


def _assign_owners(
    owners_per_class: IndexArray, num_clients: int, classes_per_client: int, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Let each client in turn take the classes with the most unfilled owner slots, ties at random.

    Before each client the demands sum to ``classes_per_client`` times the clients left and none exceeds
    the clients left; classes at that bound are taken first, so the invariant survives to the end.
    """
    demand = owners_per_class.copy()
    owns = np.zeros((num_clients, len(demand)), dtype=bool)
    for client in range(num_clients):
        priority = demand + generator.random(len(demand))
        chosen = np.argsort(-priority)[:classes_per_client]
        owns[client, chosen] = True
        demand[chosen] -= 1
    return owns


def _check_pools(labels: IndexArray, pool_sizes: IndexArray, owners_per_class: IndexArray) -> None:
    short = np.flatnonzero(pool_sizes < owners_per_class)
    if len(short) > 0:
        first = short[0]
        raise UserError(
            f"partition 'classes': class {labels[first]} has {pool_sizes[first]} samples for"
            f" {owners_per_class[first]} clients; lower clients.count or partition.classes-per-client"
        )


def _check_hands(parts: Partition) -> None:
    if not parts.sizes.all():
        raise UserError(
            f"partition 'classes': client {parts.sizes.argmin()} gets no sample, since its labels have more"
            " owners than samples; lower clients.count"
        )
