"""Deal leftover samples so that client sizes stay equal: bipartite matching by augmenting paths."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datasets.partitions._dealing import IndexArray


def top_up(counts: IndexArray, owns: npt.NDArray[np.bool_], leftover: IndexArray) -> None:
    """Give each client one more sample of a class it owns, and repeat while all clients can be served.

    The last round serves as many clients as possible. Samples of a class are interchangeable, so that the
    matching (Kuhn 1955) runs on classes with capacities instead of on samples.

    Parameters
    ----------
    counts : numpy.ndarray
        ``(clients, classes)``, increased in place.
    owns : numpy.ndarray
        ``(clients, classes)``, which classes a client may draw from.
    leftover : numpy.ndarray
        Samples left in each class.
    """
    owned = [np.flatnonzero(row).tolist() for row in owns]
    remaining = leftover.tolist()
    while any(remaining):
        matching = _Matching(owned, remaining)
        served = [matching.serve(client) for client in range(len(owned))]
        for client, label in enumerate(matching.class_of):
            if label is not None:
                counts[client, label] += 1
                remaining[label] -= 1
        if not all(served):
            return


class _Matching:
    """One round: every client gets at most one sample."""

    def __init__(self, owned: Sequence[Sequence[int]], capacity: Sequence[int]) -> None:
        self.class_of: list[int | None] = [None] * len(owned)
        self._owned = owned
        self._free = list(capacity)
        self._clients_of: list[list[int]] = [[] for _ in capacity]
        # Classes that a failed search has visited: no augmenting path can lead through them.
        self._exhausted: set[int] = set()

    def serve(self, client: int) -> bool:
        """Find ``client`` a sample, moving others to another class where that helps."""
        fullest = max(self._owned[client], key=self._free.__getitem__)
        if self._free[fullest] > 0:
            self._free[fullest] -= 1
            self._move(client, fullest)
            return True
        return self._augment(client)

    def _augment(self, client: int) -> bool:
        wanted_by: dict[int, int] = {}
        queue = [client]
        for candidate in queue:
            for label in self._owned[candidate]:
                if label in wanted_by or label in self._exhausted:
                    continue
                wanted_by[label] = candidate
                if self._free[label] > 0:
                    self._free[label] -= 1
                    self._shift_along_path(label, wanted_by)
                    return True
                queue.extend(self._clients_of[label])
        self._exhausted.update(wanted_by)
        return False

    def _shift_along_path(self, label: int, wanted_by: dict[int, int]) -> None:
        vacated: int | None = label
        while vacated is not None:
            client = wanted_by[vacated]
            previous = self.class_of[client]
            self._move(client, vacated)
            vacated = previous

    def _move(self, client: int, label: int) -> None:
        previous = self.class_of[client]
        if previous is not None:
            self._clients_of[previous].remove(client)
        self.class_of[client] = label
        self._clients_of[label].append(client)
