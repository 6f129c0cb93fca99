"""Who is who: Flower's random node ids on one side, client ids (partition ids) on the other."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
import numpy.typing as npt


class ClientRegistry:
    """The clients of a run, learnt from the nodes' answers to a ``describe`` query.

    Parameters
    ----------
    node_ids : Mapping[int, int]
        client id → node id.
    label_counts : ndarray
        int64, shape (clients, classes): what the clients hold, by ascending client id; no classes if they do
        not report it.
    num_examples : ndarray
        int64, shape (clients,): their training samples, by default one per label.
    keeps_state : bool
        Whether clients carry state from round to round.
    is_personalised : bool
        Whether clients have models or predictions of their own.
    personal_names : Collection[str]
        Entries of the model that clients keep for themselves.
    """

    def __init__(
        self,
        node_ids: Mapping[int, int],
        label_counts: npt.NDArray[np.int64],
        keeps_state: bool = False,
        is_personalised: bool = False,
        personal_names: Collection[str] = (),
        num_examples: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.node_ids = dict(sorted(node_ids.items()))
        self.client_ids = {node: client for client, node in self.node_ids.items()}
        self.label_counts = label_counts
        self.num_examples = label_counts.sum(axis=1) if num_examples is None else num_examples
        self.keeps_state = keeps_state
        self.is_personalised = is_personalised
        self.personal_names = personal_names

    def unknown(self, node_ids: Iterable[int]) -> set[int]:
        """Return the nodes that are not clients of the run."""
        return set(node_ids) - self.client_ids.keys()

    def move(self, client_id: int, node_id: int) -> None:
        """Let a client be another node from now on."""
        del self.client_ids[self.node_ids[client_id]]
        self.node_ids[client_id] = node_id
        self.client_ids[node_id] = client_id
