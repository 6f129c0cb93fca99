"""Retries messages of which a SuperLink refused a part, as the same messages."""

from collections.abc import Iterable

from flwr.app import Message

from common.flower import ObjectPushError
from server.messages.grid_view import GridView


class PushedAgain(GridView):
    """A view of a SuperLink's Grid that survives brief connection failures.

    If the connection fails, Flower resends a part of a message, and the SuperLink refuses it if it has
    arrived already. It accepts the same messages again, and takes only the parts that it does not have.
    """

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Push messages; push them again if a part was refused."""
        asked = list(messages)
        try:
            return self.carrier.push_messages(asked)
        except ObjectPushError:
            return self.carrier.push_messages(asked)
