"""Shared by our Grids: nodes are partitions, and replies are made while they are pulled."""

import itertools
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Self

from flwr.app import DEFAULT_TTL, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from common.flower import SERVER_NODE_ID, Run, assume_task_identity, set_message_id
from common.records import metrics_record

MIN_MEASURED, REPEATS = 8, 2  # clients in a measurement without stacks, and repetitions of each measurement
LARGE = 16  # from this size on, larger sizes are tried only while they are the fastest so far
_FIRST_NODE_ID = SERVER_NODE_ID + 1


class LocalGrid(Grid):
    """A Grid without a SuperLink; node ids are partition ids, shifted past the server's own id.

    Parameters
    ----------
    num_clients : int
        Number of nodes.

    Attributes
    ----------
    stack : int
        Number of clients that train together in one process.
    say : callable
        Prints a line for the user.
    is_reliable : bool
        Whether replies are never lost.
    """

    is_reliable = True

    def __init__(self, num_clients: int) -> None:
        assume_task_identity()
        self.num_clients = num_clients
        self._nodes = range(_FIRST_NODE_ID, _FIRST_NODE_ID + num_clients)
        self._message_ids = itertools.count(1)
        self._exchanges: dict[str, Iterator[Message]] = {}
        self._arrived: dict[str, Message] = {}
        self._noted: set[str] = set()
        self.stack = 1
        self.say: Callable[[str], None] = lambda text: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the Grid's resources."""

    def note(self, text: str) -> None:
        """Print a line, once."""
        if text not in self._noted:
            self._noted.add(text)
            self.say(text)

    @abstractmethod
    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Deliver messages to their clients and yield the replies as they arrive."""

    @staticmethod
    def client_id(node_id: int) -> int:
        """Return the partition id of a node."""
        return node_id - _FIRST_NODE_ID

    @property
    def alike_nodes(self) -> range:
        """The nodes of client 0, 1, ...: all have one configuration and one data set."""
        return self._nodes

    def measure_stacks(self, messages: Sequence[Message], sizes: Sequence[int]) -> Mapping[int, float]:
        """Train clients on these messages without effect; return local steps per second by stack size."""
        rates: dict[int, float] = {}
        kept = self.stack
        try:
            for size in sizes:
                self.stack = size
                some = messages[: max(size * self._num_workers, MIN_MEASURED)]
                rates[size] = max(self._steps_per_second(some) for _ in range(REPEATS))
                if size >= LARGE and rates[size] < max(rates.values()):
                    break
        finally:
            self.stack = kept
        return rates

    def _steps_per_second(self, messages: Sequence[Message]) -> float:
        """Train clients on copies of their states; return their local steps per second."""
        with self._keeping_nothing(messages):
            started, steps = self._clock(), 0.0
            for reply in self.exchange([self._stamp(message) for message in messages]):
                if reply.has_error():
                    raise RuntimeError(str(reply.error.reason).strip().splitlines()[-1])
                steps += float(metrics_record(reply.content)["num-steps"])  # type: ignore[arg-type]
            return steps / (self._clock() - started)

    @property
    def _num_workers(self) -> int:
        """Number of jobs done at a time."""
        return 1

    def _clock(self) -> float:
        """Return the time in seconds by which work is measured."""
        return time.perf_counter()

    def _keeping_nothing(self, messages: Sequence[Message]) -> AbstractContextManager[None]:
        """Return a context that restores the states of the clients of these messages."""
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes, in the order of their clients."""
        return self._nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Accept messages; the work is done when their replies are pulled."""
        stamped = [self._stamp(message) for message in messages]
        replies = self.exchange(stamped)
        message_ids = [message.metadata.message_id for message in stamped]
        self._exchanges |= dict.fromkeys(message_ids, replies)
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Wait for the next reply to one of the messages; empty if there is none left.

        With many ids, pass a mapping or its keys, for fast look-up.
        """
        for message_id in message_ids:
            if message_id in self._arrived:
                return [self._arrived.pop(message_id)]
            for reply in self._exchanges.get(message_id, ()):
                answered = reply.metadata.reply_to_message_id
                del self._exchanges[answered]
                self._arrived[answered] = reply
                if answered == message_id or answered in message_ids:
                    return [self._arrived.pop(answered)]
        return []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Deliver the messages and return their replies, each when it is requested."""
        outstanding = OrderedDict.fromkeys(self.push_messages(messages))
        while outstanding and (replies := list(self.pull_messages(outstanding.keys()))):
            for reply in replies:
                del outstanding[str(reply.metadata.reply_to_message_id)]
                yield reply

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message; the constructor of ``Message`` does the same."""
        return Message(content, dst_node_id, message_type, ttl=ttl or DEFAULT_TTL, group_id=group_id)

    def set_run(self, run: Run) -> None:
        """Refuse: this Grid belongs to one run, which Flower does not know."""
        raise NotImplementedError("a local Grid carries the messages of the process that made it")

    @property
    def run(self) -> Run:
        """Refuse, as ``set_run``."""
        raise NotImplementedError("a local Grid carries the messages of the process that made it")

    def _stamp(self, message: Message) -> Message:
        set_message_id(message, str(next(self._message_ids)))
        return message


def stacks(messages: Sequence[Message], size: int) -> Iterator[Sequence[Message]]:
    """Yield the messages one by one, or up to `size` train messages at a time."""
    together = size if messages and messages[0].metadata.message_type == MessageType.TRAIN else 1
    for start in range(0, len(messages), together):
        yield messages[start : start + together]
