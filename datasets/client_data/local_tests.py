"""Test sets of clients that follow their training distributions (FedLoGe's personalised accuracy)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]
# (client, pool, count) -> `count` samples of the pool, drawn without replacement.
Draw = Callable[[int, IndexArray, int], IndexArray]


@dataclass(frozen=True, eq=False)
class LocalTests:
    """The test samples of each client.

    Attributes
    ----------
    nominal : numpy.ndarray
        int64, (clients, classes): trunc((n_kc / N) T) samples for T test samples in all.
    indices : list of numpy.ndarray
        For each client its sorted indices into the test set. A client whose nominal count of a class exceeds
        the class gets all of it; the sets of different clients overlap.
    """

    nominal: IndexArray
    indices: list[IndexArray]


def nominal_test_counts(label_counts: IndexArray, num_test: int) -> IndexArray:
    """Return trunc((n_kc / N) T) for label counts (clients, classes), in float64 and in this order."""
    counts: IndexArray = (label_counts / label_counts.sum() * num_test).astype(np.int64)
    return counts


def draw_local_tests(label_counts: IndexArray, test_targets: IndexArray, draw: Draw) -> LocalTests:
    """Draw every client's test set, class by class, from a balanced test set.

    Parameters
    ----------
    label_counts : numpy.ndarray
        int64, (clients, classes): the training samples.
    test_targets : numpy.ndarray
        The labels of the whole test set.
    draw : callable
        Chooses ``count`` samples of a class for a client.
    """
    nominal = nominal_test_counts(label_counts, len(test_targets))
    pools = [np.flatnonzero(test_targets == label) for label in range(label_counts.shape[1])]
    sets = []
    for client, counts in enumerate(nominal):
        chosen = [
            draw(client, pool, min(count, len(pool))) for pool, count in zip(pools, counts, strict=True)
        ]
        sets.append(np.sort(np.concatenate(chosen)))
    return LocalTests(nominal, sets)


def legacy_draw(generator: np.random.RandomState) -> Draw:
    """Return a draw from one stream, as in the authors' code: clients in the outer loop, classes inside."""

    def draw(client: int, pool: IndexArray, count: int) -> IndexArray:
        chosen: IndexArray = generator.choice(pool, count, replace=False)
        return chosen

    return draw


def keyed_draw(generators: Sequence[np.random.Generator]) -> Draw:
    """Return a draw from one generator per client."""

    def draw(client: int, pool: IndexArray, count: int) -> IndexArray:
        chosen: IndexArray = generators[client].choice(pool, count, replace=False)
        return chosen

    return draw
