"""Communication graphs of decentralised training: ``topology.name = "ring"`` is ``ring.py``.

A topology module has one function ``links(num_clients, generator, *, ...)``. It returns a boolean array
(clients, clients), in which [i, j] is whether client i receives client j's model. For links that change it is
(rounds, clients, clients): round t uses the entry t - 1, and the sequence repeats. Its keyword parameters can
be set as ``topology.<parameter>``.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from common.chosen import chosen_function
from common.errors import UserError
from common.plugin_kinds import TOPOLOGY
from common.randomness import numpy_generator
from common.sections import TopologySection

Links = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float64]

MAX_CLIENTS = 4096  # the matrix of all pairs, and a model for each client, are held by one process


def topology_function(section: TopologySection) -> functools.partial[Any]:
    """Return the function that makes the links of a run, with its parameters.

    Raises
    ------
    UserError
        If there is no such topology or parameter, or a value is out of range.
    """
    return chosen_function(TOPOLOGY, section)


class Topology:
    """The links of a run's clients and the weights with which they mix.

    W is doubly stochastic, and symmetric where links go both ways: w_ij = 1 / (1 + max(d_i, d_j)) over a link
    with ``weights = "metropolis"`` (Xiao, Boyd and Kim 2007), 1 / (2 max(d_i, d_j)) with ``lazy-metropolis``,
    and w_ii is the remainder to 1; d_i is the number of clients that i receives from.
    """

    def __init__(self, section: TopologySection, num_clients: int, seed: int) -> None:
        self._section, self._num_clients, self._seed = section, num_clients, seed
        self._gaps: dict[int, float] = {}

    @functools.cached_property
    def links(self) -> Links:
        """(rounds, clients, clients), checked.

        Raises
        ------
        UserError
            If the topology is impossible for the number of clients, or does not connect all of them.
        """
        name, count = self._section.name, self._num_clients
        if not 2 <= count <= MAX_CLIENTS:
            raise UserError(f"clients.count = {count}: a topology takes from 2 to {MAX_CLIENTS} clients")
        make = topology_function(self._section)
        links = np.asarray(make(count, numpy_generator(self._seed, "topology")))
        if links.dtype != np.bool_ or links.ndim not in (2, 3) or links.shape[-2:] != (count, count):
            raise UserError(
                f"topology.name '{name}' must return booleans of shape ({count}, {count}), or a stack of"
                f" these, not {links.dtype} of shape {links.shape}"
            )
        links = links.reshape(-1, count, count)
        self._check(links)
        return links

    def _check(self, links: Links) -> None:
        name = f"topology.name '{self._section.name}'"
        if not len(links):
            raise UserError(f"{name} returned an empty stack of links")
        if own := np.flatnonzero(links.diagonal(axis1=1, axis2=2).any(axis=0)).tolist():
            raise UserError(
                f"{name} links client {own[0]} to itself: leave that out, its weight is the remainder to 1"
            )
        for graph in links:
            degrees = graph.sum(axis=0), graph.sum(axis=1)
            if (graph != graph.T).any() and np.ptp(degrees) > 0:
                raise UserError(
                    f"{name} has one-way links: then every client must receive from and send to the same"
                    " number of others, or mixing would change the mean of the models"
                )
        if (lost := _unreachable(np.asarray(links.any(axis=0)))) is not None:
            raise UserError(
                f"{name} does not connect the {self._num_clients} clients of clients.count: the model"
                f" of client {lost} never reaches client 0; add links, or choose another topology"
            )

    def links_of(self, server_round: int) -> Links:
        """Return the links of a round, from 1."""
        found: Links = self.links[self._place(server_round)]
        return found

    def mixing(self, server_round: int) -> Matrix:
        """Return W of a round: a client's next model is the mean of all models, weighted by its row."""
        return mixing_matrix(self.links_of(server_round), self._section.weights == "lazy-metropolis")

    def spectral_gap(self, server_round: int) -> float:
        """Return 1 - beta of the W of a round."""
        place = self._place(server_round)
        if place not in self._gaps:
            self._gaps[place] = spectral_gap(self.mixing(server_round))
        return self._gaps[place]

    def _place(self, server_round: int) -> int:
        return (server_round - 1) % len(self.links)


def mixing_matrix(links: Links, is_lazy: bool = False) -> Matrix:
    """Return W of links, (clients, clients), as in `Topology`."""
    degrees = links.sum(axis=1)
    largest = np.maximum.outer(degrees, degrees).astype(np.float64)
    counts = np.maximum(2 * largest if is_lazy else 1 + largest, 1)
    weights: Matrix = np.where(links, 1 / counts, 0.0)
    np.fill_diagonal(weights, 1 - weights.sum(axis=1))
    return weights


def spectral_gap(weights: Matrix) -> float:
    """Return 1 - beta, where beta = ||W - 11^T / n||_2; for a symmetric W max(|lambda_2|, |lambda_n|).

    Mixing multiplies the squared distances from the mean, summed over clients, by at most beta**2.
    """
    return max(0.0, 1 - float(np.linalg.norm(weights - 1 / len(weights), 2)))


def undirected_links(num_clients: int, pairs: npt.ArrayLike) -> Links:
    """Return the links between pairs of clients, (pairs, 2), in both directions."""
    first, second = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    links = np.zeros((num_clients, num_clients), dtype=np.bool_)
    links[first, second] = links[second, first] = True
    return links


def are_connected(links: Links) -> bool:
    """Return whether every client's model eventually reaches every other client."""
    return _unreachable(links) is None


def _unreachable(links: Links) -> int | None:
    """Return a client that cannot reach client 0, or that client 0 cannot reach; None if there is none.

    If links go both ways, or all clients receive from and send to the same number of others, checking one
    direction is enough; also over several rounds, since each round's graph has this property.
    """
    reached = np.zeros(len(links), dtype=np.bool_)
    reached[0] = True
    while (more := reached | links[reached].any(axis=0)).sum() > reached.sum():
        reached = more
    return None if reached.all() else int(np.flatnonzero(~reached)[0])
