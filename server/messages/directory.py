"""Who is who: Flower's random node ids on one side, client ids (partition ids) on the other."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from common.errors import UserError
from common.flower import Run
from common.records import CONFIG, METRICS
from server.messages.exchange import exchange

_POLL_SECONDS = 1.0


class ClientDirectory:
    """The clients of a run, learnt from the nodes' answers to a ``describe`` query.

    Parameters
    ----------
    node_ids : Mapping[int, int]
        client id → node id.
    label_counts : ndarray
        int64, shape (clients, classes): what the clients hold, by ascending client id.
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


def discover_clients(grid: Grid, num_clients: int, timeout: float) -> ClientDirectory:
    """Wait until `num_clients` nodes are there and ask each which client it is.

    Raises
    ------
    UserError
        If nodes are missing after `timeout` seconds, one is misconfigured, or two are the same client.
    """
    nodes = _wait_for_nodes(grid, num_clients, timeout)
    query = RecordDict({CONFIG: ConfigRecord()})
    messages = {node: Message(query, dst_node_id=node, message_type="query.describe") for node in nodes}
    node_ids: dict[int, int] = {}
    label_counts: dict[int, list[int]] = {}
    num_examples: dict[int, int] = {}
    keeps_state = is_personalised = False
    personal_names: set[str] = set()
    for node, reply in exchange(grid, messages, timeout):
        if reply.has_error():
            raise UserError(reply.error.reason)
        description = reply.content.metric_records[METRICS]
        client_id = int(description["client-id"])  # type: ignore[arg-type]
        if client_id in node_ids:
            raise UserError(f"two nodes have partition-id {client_id}: give each SuperNode its own")
        node_ids[client_id] = node
        label_counts[client_id] = description["label-counts"]  # type: ignore[assignment]
        num_examples[client_id] = int(description["num-examples"])  # type: ignore[arg-type]
        keeps_state |= bool(description["keeps-state"])
        is_personalised |= bool(description["is-personalised"])
        personal_names |= set(reply.content.config_records[CONFIG]["personal-names"])  # type: ignore[arg-type]
    if missing := sorted(set(range(num_clients)) - set(node_ids)):
        raise UserError(f"no node answers for client {missing[0]} ({len(missing)} of {num_clients} missing)")
    counts = np.array([label_counts[client] for client in sorted(node_ids)], dtype=np.int64)
    sizes = np.array([num_examples[client] for client in sorted(node_ids)], dtype=np.int64)
    return ClientDirectory(node_ids, counts, keeps_state, is_personalised, personal_names, sizes)


def _wait_for_nodes(grid: Grid, num_clients: int, timeout: float) -> Sequence[int]:
    deadline = time.monotonic() + timeout
    while True:
        nodes = sorted(grid.get_node_ids())
        if len(nodes) > num_clients:
            raise UserError(
                f"{len(nodes)} nodes are connected, but clients.count is {num_clients}:"
                " set it to the number of nodes"
            )
        if len(nodes) == num_clients:
            return nodes
        if time.monotonic() > deadline:
            raise UserError(
                f"only {len(nodes)} of clients.count = {num_clients} nodes connected within {timeout:.0f} s"
                " (failures.timeout)"
            )
        time.sleep(_POLL_SECONDS)


class CohortGrid(Grid):
    """A view of a Grid that shows only the nodes of a round.

    Any strategy that addresses "all nodes" thereby addresses the cohort, Flower's own ones included.
    """

    def __init__(self, grid: Grid, node_ids: Iterable[int]) -> None:
        self._grid = grid
        self._node_ids = list(node_ids)

    @property
    def run(self) -> Run:
        """The run of the whole Grid."""
        return self._grid.run

    def set_run(self, run: Run) -> None:
        """Set the run of the whole Grid."""
        self._grid.set_run(run)

    def get_node_ids(self) -> Iterable[int]:
        """Return the node ids of the cohort, in the order of their clients."""
        return list(self._node_ids)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull replies."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push messages and wait for the replies."""
        return self._grid.send_and_receive(messages, timeout=timeout)
