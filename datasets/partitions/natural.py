"""The clients that the data come from."""

import numpy as np

from common.errors import UserError
from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray


def partition(
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    natural_clients: IndexArray | None,
) -> Partition:
    """Give every client the samples of one natural client, in the data set's order of natural clients.

    Parameters
    ----------
    targets, num_clients, generator, natural_clients
        See `datasets.partitions.make_partition`.
    """
    if natural_clients is None:
        raise UserError(
            "partition 'natural' needs data that come from clients, such as dataset 'shakespeare', images"
            " with a dataset.list-file that names users, or a table with a column that dataset.client names:"
            " choose another partition.name, or another data set"
        )
    sizes = np.bincount(natural_clients)
    if len(sizes) != num_clients or not sizes.all():
        raise UserError(
            f"partition 'natural': clients.count is {num_clients}, but the data have {len(sizes)} natural"
            " clients: set it to that"
        )
    return Partition.of_owners(natural_clients, num_clients)
