"""A Grid that wraps another one and shows it differently."""

from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from common.flower import Run


class GridView(Grid):
    """Forwards everything to another Grid; subclasses override what they show differently.

    Parameters
    ----------
    carrier : Grid
        The other Grid.

    Attributes
    ----------
    carrier : Grid
        The other Grid.
    """

    def __init__(self, carrier: Grid) -> None:
        self.carrier = carrier

    @property
    def run(self) -> Run:
        """The run of the other Grid."""
        return self.carrier.run

    def set_run(self, run: Run) -> None:
        """Set the run of the other Grid."""
        self.carrier.set_run(run)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes."""
        return self.carrier.get_node_ids()

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message."""
        return self.carrier.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages."""
        return self.carrier.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Pull replies."""
        return self.carrier.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Push messages and wait for the replies."""
        return self.carrier.send_and_receive(messages, timeout=timeout)
