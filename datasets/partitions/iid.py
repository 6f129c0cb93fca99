"""Independent and identically distributed clients."""

import numpy as np

from datasets.partition import Partition
from datasets.partitions._dealing import IndexArray, class_pools, even_pieces


def partition(
    targets: IndexArray, num_clients: int, generator: np.random.Generator, *, stratified: bool = True
) -> Partition:
    """Deal all samples out evenly.

    Parameters
    ----------
    targets, num_clients, generator
        See `datasets.partitions.make_partition`.
    stratified : bool, default True
        Whether clients also get equal shares of every class: sizes then differ by at most one in total and
        within each class. Otherwise the samples are shuffled and cut into equal pieces.
    """
    if not stratified:
        return even_pieces(generator.permutation(len(targets)), num_clients)
    pools = class_pools(targets)
    class_order = generator.permutation(len(pools))
    deck = np.concatenate([generator.permutation(pools[label]) for label in class_order])
    turns = generator.permutation(num_clients)
    owners = np.empty(len(deck), dtype=np.int64)
    owners[deck] = turns[np.arange(len(deck)) % num_clients]
    return Partition.of_owners(owners, num_clients)
