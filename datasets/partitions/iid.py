"""Independent and identically distributed clients."""

import numpy as np

from datasets.partitions._dealing import IndexArray, class_pools


def partition(
    targets: IndexArray, num_clients: int, generator: np.random.Generator, *, stratified: bool = True
) -> list[IndexArray]:
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
        pieces = np.array_split(generator.permutation(len(targets)), num_clients)
        return [np.sort(piece) for piece in pieces]
    pools = class_pools(targets)
    class_order = generator.permutation(len(pools))
    deck = np.concatenate([generator.permutation(pools[label]) for label in class_order])
    hands: list[IndexArray] = [np.empty(0, dtype=np.int64)] * num_clients
    for turn, client in enumerate(generator.permutation(num_clients)):
        hands[client] = np.sort(deck[turn::num_clients])
    return hands
