"""A random graph in which every client has the same number of neighbours, drawn once from the seed."""

import numpy as np

from common.errors import UserError
from common.sections import Positive
from common.topologies import Links, are_connected, undirected_links

_MAX_DRAWS = 10_000


def links(num_clients: int, generator: np.random.Generator, *, degree: Positive = 3) -> Links:
    """Return the links of a connected graph with `degree` neighbours each.

    Half-edges are paired at random, and pairs that would link two clients twice, or a client to itself, are
    drawn again (Steger and Wormald 1999), until the graph is regular and connected. If the graph has more
    than half of all links, its complement is drawn.
    """
    if degree >= num_clients:
        raise UserError(
            f"topology.degree = {degree}: of clients.count = {num_clients} clients each can have at"
            f" most {num_clients - 1} neighbours"
        )
    if num_clients * degree % 2:
        raise UserError(
            f"topology.degree = {degree} times clients.count = {num_clients} is odd, and a link has two ends:"
            " make one of them even"
        )
    if degree == 1 and num_clients > 2:
        raise UserError(
            f"topology.degree = 1 makes pairs, which do not connect clients.count = {num_clients} clients:"
            " set it to at least 2"
        )
    left_out = num_clients - 1 - degree
    for _ in range(_MAX_DRAWS):
        drawn = _draw(num_clients, min(degree, left_out), generator)
        if drawn is None:
            continue
        found = drawn if degree <= left_out else ~drawn & ~np.eye(num_clients, dtype=np.bool_)
        if are_connected(found):
            return found
    raise UserError(f"topology.degree = {degree} gave no connected graph: set it to at least 3")


def _draw(num_clients: int, degree: int, generator: np.random.Generator) -> Links | None:
    """Return links with `degree` neighbours each; None if the last half-edges cannot be paired."""
    found = undirected_links(num_clients, [])
    halves = np.repeat(np.arange(num_clients), degree)
    while len(halves):
        left = []
        for first, second in generator.permutation(halves).reshape(-1, 2):
            if first == second or found[first, second]:
                left += [first, second]
            else:
                found[first, second] = found[second, first] = True
        if len(left) == len(halves) and not _fit(found, np.unique(left)):
            return None
        halves = np.array(left, dtype=np.int64)
    return found


def _fit(found: Links, clients: np.ndarray) -> bool:
    """Return whether two of the clients are not linked yet."""
    among = found[np.ix_(clients, clients)]
    return int(among.sum()) < len(clients) * (len(clients) - 1)
