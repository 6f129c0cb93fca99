"""Messages of which a SuperLink refused a part: pushed once more, as the same messages."""

from collections.abc import Iterable

from flwr.app import Message

from common.flower import ObjectPushError
from server.messages.grid_view import GridView


class PushedAgain(GridView):
    """A view of a SuperLink's Grid, on which a connection that fails for a moment ends no run.

    Flower sends a part of a message again if the connection failed, and a SuperLink refuses what arrived the
    first time. It takes the same messages again, and only the parts of them that it does not have.
    """

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages, and again if a part was refused."""
        asked = list(messages)
        try:
            return self.carrier.push_messages(asked)
        except ObjectPushError:
            return self.carrier.push_messages(asked)
