"""One of several equal groups of clients; each client holds what a partition over all groups gives it."""

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from common.errors import NoEffectError, UserError
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray
from datasets.partitions.dirichlet import partition as dirichlet
from datasets.partitions.hetero import partition as hetero
from datasets.partitions.hetero_fixed import partition as hetero_fixed
from datasets.partitions.iid import partition as iid

_ALPHA = 0.5


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    *,
    of: Literal["dirichlet", "hetero", "hetero-fixed", "iid"] = "dirichlet",
    groups: Annotated[int, Field(ge=1)] = 5,
    group: Annotated[int, Field(ge=0)] = 0,
    alpha: Annotated[float, Field(gt=0)] = _ALPHA,
) -> Partition:
    """Deal the samples to ``groups`` times as many clients, and keep those of one group.

    One run per group gives the separate federations of clients with one architecture each, to which methods
    that average parts of models are compared (Chan et al., ICLR 2024, table 5). Samples of the other groups
    are not used.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`; ``num_clients`` counts the clients of the group.
    of : str, default "dirichlet"
        The partition of all clients.
    groups : int, default 5
        Number of groups; a group consists of consecutive clients.
    group : int, default 0
        Which group to keep, from 0.
    alpha : float, default 0.5
        Concentration of the partitions that have one.
    """
    if group >= groups:
        raise UserError(
            f"partition.group = {group} must be below partition.groups = {groups}: they count from 0"
        )
    total = groups * num_clients
    if total > len(targets):
        raise UserError(
            f"partition.groups = {groups} groups of clients.count = {num_clients} are more clients than the"
            f" {len(targets)} training samples: lower one of them"
        )
    if of == "iid" and alpha != _ALPHA:
        raise NoEffectError(
            "partition.alpha",
            f"partition.alpha = {alpha} would have no effect: partition.of = 'iid' has no concentration; set"
            " another partition.of, or leave it out",
        )
    if of == "iid":
        made = iid(targets, total, generator)
    else:
        schemes: dict[str, Callable[..., Partition]] = {
            "dirichlet": dirichlet,
            "hetero": hetero,
            "hetero-fixed": hetero_fixed,
        }
        made = schemes[of](targets, total, generator, alpha=alpha)
    return Partition.of([made[client] for client in range(group * num_clients, (group + 1) * num_clients)])
