"""A Grid as a strategy sees it in a round."""

from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from common.flower import Run


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
