"""The clients that the data come from."""

import numpy as np

from common.errors import UserError
from datasets.partitions._dealing import IndexArray, class_pools


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    natural_clients: IndexArray | None,
) -> list[IndexArray]:
    """Give every client the samples of one natural client, in the data set's order of these.

    Parameters
    ----------
    targets, num_clients, generator, natural_clients
        See `datasets.partitions.make_partition`.
    """
    if natural_clients is None:
        raise UserError(
            "partition 'natural' needs data that come from clients, such as dataset 'shakespeare' or images"
            " with a dataset.list-file that names users: choose another partition.name, or another data set"
        )
    pools = class_pools(natural_clients)
    if len(pools) != num_clients or not all(map(len, pools)):
        raise UserError(
            f"partition 'natural': clients.count is {num_clients}, but the data have {len(pools)} natural"
            " clients: set it to that"
        )
    return pools
