"""Maps client ids (partition ids) to Flower's random node ids."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt


class Consecutive(Mapping[int, int]):
    """A mapping from consecutive integers to consecutive integers, of constant size.

    Parameters
    ----------
    keys, values : range
        Of the same length, with a step of 1.
    """

    def __init__(self, keys: range, values: range) -> None:
        self._keys, self._values = keys, values

    def __getitem__(self, key: int) -> int:
        if key not in self._keys:
            raise KeyError(key)
        return self._values[key - self._keys.start]

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class ClientRegistry:
    """The clients of a run, from the nodes' answers to a ``describe`` query.

    Parameters
    ----------
    node_ids : Mapping[int, int] or range
        client id → node id; or the nodes of the clients 0, 1, ..., which stay for the whole run.
    label_counts : ndarray
        int64, shape (clients, classes): the clients' label counts, by ascending client id; no classes if they
        do not report them.
    num_examples : ndarray
        int64, shape (clients,): their training samples, by default one per label.
    keeps_state : bool
        Whether clients keep state between rounds.
    is_personalised : bool
        Whether clients have models or predictions of their own.
    personal_names : Collection[str]
        Entries of the model that stay on the clients.
    versions : Mapping[int, Sequence[str]], optional
        client id → the software versions on its node, if each node was asked.
    data : Mapping[int, Sequence[str]], optional
        client id → the digests of its data, if each node was asked.
    """

    def __init__(
        self,
        node_ids: Mapping[int, int] | range,
        label_counts: npt.NDArray[np.int64],
        keeps_state: bool = False,
        is_personalised: bool = False,
        personal_names: Collection[str] = (),
        num_examples: npt.NDArray[np.int64] | None = None,
        versions: Mapping[int, Sequence[str]] | None = None,
        data: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        self.versions, self.data = dict(versions or {}), data or {}
        self._fixed = node_ids if isinstance(node_ids, range) else None
        self.node_ids: Mapping[int, int]
        self.client_ids: Mapping[int, int]
        if isinstance(node_ids, range):
            clients = range(len(node_ids))
            self.node_ids = Consecutive(clients, node_ids)
            self.client_ids = Consecutive(node_ids, clients)
        else:
            self.node_ids = self._nodes = dict(sorted(node_ids.items()))
            self.client_ids = self._clients = {node: client for client, node in node_ids.items()}
        self.label_counts = label_counts
        self.num_examples = label_counts.sum(axis=1) if num_examples is None else num_examples
        self.keeps_state = keeps_state
        self.is_personalised = is_personalised
        self.personal_names = personal_names

    def unknown(self, node_ids: Iterable[int]) -> set[int]:
        """Return the nodes that are not clients of the run."""
        if self._fixed is not None and node_ids == self._fixed:
            return set()
        return set(node_ids) - self.client_ids.keys()

    def move(self, client_id: int, node_id: int) -> None:
        """Assign a client to another node."""
        del self._clients[self._nodes[client_id]]
        self._nodes[client_id] = node_id
        self._clients[node_id] = client_id
