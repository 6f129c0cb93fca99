"""Asynchronous pairwise gossip: which two neighbours average when, and the effect on their models."""

import math

import numpy as np

from common.randomness import numpy_generator
from common.records import Tensors
from common.topologies import Links, Matrix
from strategies._decentralised import Stack


class PairEvents:
    """Random pairwise averagings; the n-th depends on the seed, n and the links alone.

    Every link has the same rate, such that a client takes part in ``rate`` averagings per virtual second on
    average.
    """

    def __init__(self, links: Links, rate: float, seed: int) -> None:
        self.pairs = np.argwhere(np.triu(links))
        self._links, self._seed = links, seed
        self.rate_of_all = rate * len(links) / 2

    def gap(self, number: int) -> float:
        """Return the virtual seconds between the averagings `number` - 1 and `number`, from 0."""
        return float(self._generator(number).exponential(1 / self.rate_of_all))

    def pair(self, number: int) -> tuple[int, int]:
        """Return the two clients of an averaging."""
        generator = self._generator(number)
        generator.exponential()
        first, second = self.pairs[generator.integers(len(self.pairs))].tolist()
        return first, second

    def _generator(self, number: int) -> np.random.Generator:
        return numpy_generator(self._seed, "gossip", number)

    def laplacian(self) -> Matrix:
        """Return Lambda = sum over links of (rate of a link) (e_i - e_j) (e_i - e_j)^T."""
        rate = self.rate_of_all / len(self.pairs)
        links = self._links.astype(np.float64)
        found: Matrix = rate * (np.diag(links.sum(axis=1)) - links)
        return found

    def resistances(self) -> tuple[float, float]:
        """Return (chi_1, chi_2) of Nabli et al. 2023, section 3, in virtual seconds.

        chi_1 = 1 / lambda_2(Lambda); chi_2 is half the largest (e_i - e_j)^T Lambda^+ (e_i - e_j) of a link.
        """
        laplacian = self.laplacian()
        inverse = np.linalg.pinv(laplacian, hermitian=True)
        i, j = self.pairs.T
        of_links = inverse[i, i] + inverse[j, j] - 2 * inverse[i, j]
        return 1 / float(np.linalg.eigvalsh(laplacian)[1]), float(of_links.max()) / 2


class PairedModels:
    """The models x and x~ of all clients, updated in place event by event; each client has its own time.

    Parameters
    ----------
    x, other : Stack
        x and x~, in float64.
    eta, share : float
        The rate at which x and x~ mix, per virtual second; the fraction of x_i - x_j that an averaging
        subtracts from x~_i.
    times : list of float
        The virtual time up to which each client's models have been mixed.
    """

    def __init__(self, x: Stack, other: Stack, eta: float, share: float, times: list[float]) -> None:
        self.x, self.other, self.eta, self.share, self.times = x, other, eta, share, times

    def flow(self, client: int, time: float) -> None:
        """Mix x and x~ of a client up to a time: exp(t eta [[-1, 1], [1, -1]])."""
        elapsed, self.times[client] = time - self.times[client], time
        moved = -math.expm1(-2 * self.eta * elapsed) / 2  # of the difference, which decays with 2 eta
        for name, x in self.x.items():
            step = moved * (self.other[name][client] - x[client])
            x[client] += step
            self.other[name][client] -= step

    def add(self, client: int, change: Tensors, time: float) -> None:
        """Add the change of the local steps to both models."""
        self.flow(client, time)
        for name, value in change.items():
            self.x[name][client] += value
            self.other[name][client] += value

    def average(self, first: int, second: int, time: float) -> None:
        """Average two clients' models."""
        self.flow(first, time)
        self.flow(second, time)
        for name, x in self.x.items():
            difference = x[first] - x[second]
            for client, sign in ((first, -1), (second, 1)):
                x[client] += sign * difference / 2
                self.other[name][client] += sign * self.share * difference
