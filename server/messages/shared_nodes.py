"""Nodes that serve several clients each (``resources.clients-per-node``), shown as one node per client.

Messages to clients of one node are sent together, as one message (``common/bundle.py``): a SuperNode handles
messages one after the other, each in a separate process.
"""

import time
from collections.abc import Iterable, Sequence

from flwr.app import Error, Message
from flwr.serverapp import Grid

from common.bundle import Answer, pack, unpack_answers
from common.errors import CLIENT_FAILED
from common.flower import new_reply, set_message_id
from common.records import content_bytes
from server.messages.grid_view import GridView

# Bytes of arrays in one message and its reply: both are in memory as a whole, on the node and here.
LARGEST_BUNDLE = 2**28
_POLL_SECONDS = 0.1


class SharedNodes(GridView):
    """A view of a Grid in which each client appears as a node.

    Parameters
    ----------
    grid : Grid
        The Grid of the nodes themselves.
    num_places : int
        How many clients each of them serves.

    Attributes
    ----------
    num_places : int
        How many clients each of them serves.
    """

    def __init__(self, grid: Grid, num_places: int) -> None:
        super().__init__(grid)
        self.num_places = num_places
        self._messages: dict[str, dict[int, Message]] = {}  # id of a bundle → place → message in it
        self._bundles: dict[str, str] = {}  # id of a message → id of its bundle

    def node_of(self, node_id: int) -> int:
        """Return the id of the real node that serves a client's node id."""
        return node_id // self.num_places

    def get_node_ids(self) -> Iterable[int]:
        """Return an id for each client of each node."""
        return [
            node_id * self.num_places + place
            for node_id in self.carrier.get_node_ids()
            for place in range(self.num_places)
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, bundling those to clients of one node as far as `LARGEST_BUNDLE` allows."""
        groups: dict[tuple[int, str], list[Message]] = {}
        asked = list(messages)
        for message in asked:
            key = (self.node_of(message.metadata.dst_node_id), message.metadata.message_type)
            groups.setdefault(key, []).append(message)
        bundles = [
            (node_id, bundle) for (node_id, _), some in groups.items() for bundle in self._bundled(some)
        ]
        # A list, since Flower's Grid iterates over them twice.
        sent = self.carrier.push_messages([self._together(node_id, bundle) for node_id, bundle in bundles])
        not_taken: set[int] = set()
        for bundle_id, (_, bundle) in zip(sent, bundles, strict=True):
            if not bundle_id:
                not_taken |= {id(message) for message in bundle.values()}
                continue
            self._messages[bundle_id] = bundle
            for place, message in bundle.items():
                set_message_id(message, f"{bundle_id}/{place}")
                self._bundles[message.metadata.message_id] = bundle_id
        return ["" if id(message) in not_taken else message.metadata.message_id for message in asked]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived."""
        awaited = dict.fromkeys(self._bundles[name] for name in message_ids if name in self._bundles)
        if not awaited:
            return []
        replies: list[Message] = []
        for reply in self.carrier.pull_messages(awaited.keys()):
            asked = self._messages.pop(reply.metadata.reply_to_message_id, {})  # a second reply is ignored
            for message in asked.values():
                del self._bundles[message.metadata.message_id]
            replies += self._apart(reply, asked)
        return replies

    def _bundled(self, messages: Sequence[Message]) -> Iterable[dict[int, Message]]:
        """Yield place → message of each bundle of messages to one node."""
        size = max(1, LARGEST_BUNDLE // max(1, *(content_bytes(message.content) for message in messages)))
        for start in range(0, len(messages), size):
            some = messages[start : start + size]
            yield {message.metadata.dst_node_id % self.num_places: message for message in some}

    def _together(self, node_id: int, bundle: dict[int, Message]) -> Message:
        metadata = next(iter(bundle.values())).metadata
        content = pack({place: message.content for place, message in bundle.items()})
        return Message(
            content, dst_node_id=node_id, message_type=metadata.message_type, group_id=metadata.group_id
        )

    def _apart(self, reply: Message, asked: dict[int, Message]) -> Iterable[Message]:
        """Split a node's reply to a bundle into a reply to each of its messages."""
        answers: dict[int, Answer] = {}
        without = Error(CLIENT_FAILED, "the node has not answered for this client")
        if reply.has_error():
            without = reply.error
        else:
            try:
                answers = unpack_answers(reply.content)
            except ValueError as error:
                reason = f"the node's answer is not one of clients that share a node: {error}"
                without = Error(CLIENT_FAILED, reason)
        for place, message in asked.items():
            answer = answers.get(place, Answer(error=without))
            if answer.content is not None:
                yield new_reply(answer.content, message)
            else:
                yield Message(answer.error or without, reply_to=message)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the replies that come within the time."""
        outstanding = set(self.push_messages(messages))
        started, replies = time.monotonic(), []
        while outstanding and (timeout is None or time.monotonic() - started < timeout):
            if some := list(self.pull_messages(outstanding)):
                outstanding -= {str(reply.metadata.reply_to_message_id) for reply in some}
                replies += some
            else:
                time.sleep(_POLL_SECONDS)
        return replies


def node_of(grid: Grid, node_id: int) -> int:
    """Return the node id that its operator knows, whether or not it serves several clients."""
    return grid.node_of(node_id) if isinstance(grid, SharedNodes) else node_id


def partitions(grid: Grid, client_ids: Iterable[int]) -> list[int]:
    """Return the partition ids of the nodes that serve clients, ascending."""
    num_places = grid.num_places if isinstance(grid, SharedNodes) else 1
    return sorted({client_id // num_places for client_id in client_ids})
