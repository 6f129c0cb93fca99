"""Delivers messages to clients by id; a message that is lost on its way is sent once more."""

import math
import time
from collections.abc import Collection, Iterator, Mapping

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from common.errors import one_line
from common.flower import REPLY_LOST
from server.messages.client_registry import ClientRegistry
from server.messages.exchange import exchange
from server.messages.taken_replies import TakenReplies
from server.messages.waiting import Say
from server.stopwatch import Stopwatch

_MAX_NAMED = 10
_LONGEST_REASON = 200
_PATIENCE, _MIN_SECONDS = 2.0, 60.0


class Courier:
    """Carries messages to clients and their replies back.

    Parameters
    ----------
    grid : Grid
        The Grid with the nodes.
    clients : ClientRegistry
        Maps clients to nodes.
    taken : TakenReplies
        Adds to messages which replies were lost.
    timeout : float
        Seconds without a new reply after which the rest are considered lost.
    say : callable
        Prints a line for the user.
    """

    def __init__(
        self, grid: Grid, clients: ClientRegistry, taken: TakenReplies, timeout: float, say: Say
    ) -> None:
        self._grid = grid
        self._clients = clients
        self._taken = taken
        self._timeout = timeout
        self._say = say

    def address(self, message_type: str, contents: Mapping[int, RecordDict]) -> dict[int, Message]:
        """Return client id → message with its content, ascending."""
        return {
            client_id: Message(
                content, dst_node_id=self._clients.node_ids[client_id], message_type=message_type
            )
            for client_id, content in sorted(contents.items())
        }

    def repeat(
        self, messages: Mapping[int, Message], client_ids: Collection[int], numbers: dict[int, int]
    ) -> dict[int, Message]:
        """Return the messages to some clients a second time, as a new exchange."""
        message_type = next(iter(messages.values())).metadata.message_type  # all do the same job
        repeated = self.address(
            message_type, {client_id: messages[client_id].content for client_id in client_ids}
        )
        numbers.update(self._taken.stamp(repeated))
        return repeated

    def carry(
        self,
        messages: Mapping[int, Message],
        numbers: dict[int, int],
        end: float = math.inf,
        late: dict[str, int] | None = None,
        watch: Stopwatch | None = None,
    ) -> Iterator[tuple[int, Message]]:
        """Send messages and yield (client id, reply) as the replies come.

        If a message or its reply is lost, the message is sent once more. The client may have done the job
        already: the second message says that the state it kept then does not count, so the bits are those of
        a job done once. A SuperNode may be stuck with a reply of which a part was lost: the second reply is
        awaited for twice as long as it took to notice the loss.

        Parameters
        ----------
        messages : Mapping[int, Message]
            Client id → message.
        numbers : dict
            Client id → number of its exchange, which is replaced if there is a second one.
        end : float, optional
            The time, by ``time.monotonic``, at which waiting ends in any case.
        late, watch
            As in `exchange`.
        """
        lost: dict[int, Message] = {}
        started = time.monotonic()
        for client_id, reply in exchange(self._grid, messages, self._timeout, end - started, late, watch):
            if reply.has_error() and reply.error.code in REPLY_LOST:
                lost[client_id] = reply
            else:
                yield client_id, reply
        now = time.monotonic()
        if lost and now >= end:
            yield from lost.items()
        elif lost:
            self._say(_remark(lost))
            self._taken.note({client_id: numbers[client_id] for client_id in lost}, ())
            repeated = self.repeat(messages, lost, numbers)
            timeout = min(self._timeout, _PATIENCE * (now - started) + _MIN_SECONDS)
            yield from exchange(self._grid, repeated, timeout, end - now, late, watch)


def _remark(lost: Mapping[int, Message]) -> str:
    clients = sorted(lost)
    names = ", ".join(map(str, clients[:_MAX_NAMED]))
    more = ", ..." if len(clients) > _MAX_NAMED else ""
    reason = one_line(str(lost[clients[0]].error.reason))[:_LONGEST_REASON]
    return f"no reply came from client {names}{more} ({reason}): asked once more"
