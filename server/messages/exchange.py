"""Messages out, replies in, over any Grid."""

import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from flwr.app import Error, Message
from flwr.serverapp import Grid

from common.flower import NODE_UNAVAILABLE
from server.stopwatch import Stopwatch

# Each look for replies costs a SuperLink 10 ms of processor time, so they grow rarer with the wait.
_SHORTEST_PAUSE, _USUAL_PAUSE, _LONGEST_PAUSE = 0.002, 0.1, 2.0
_NOT_TAKEN = "the SuperLink takes no message for its node any more: it was revoked, or removed"
_SHARE = 0.05  # of the time waited so far: the most that polling may add to it


def exchange(
    grid: Grid,
    messages: Mapping[int, Message],
    timeout: float,
    deadline: float = math.inf,
    late: dict[str, int] | None = None,
    watch: Stopwatch | None = None,
) -> Iterator[tuple[int, Message]]:
    """Send messages and yield (key, reply) as the replies come.

    Flower's own ``send_and_receive`` polls every three seconds and returns all replies at once; this polls
    more often and lets the receiver aggregate and free them one by one. A reply is matched by the message
    that it answers, since Flower's error for a disconnected node does not name the node. If the Grid accepts
    no message for a node, so that the message has no id, the reply is such an error as well. The Grid is
    given a live view of the remaining ids instead of a copy, which would take quadratic time.

    Parameters
    ----------
    messages : Mapping[int, Message]
        Any key → message, sent in this order.
    timeout : float
        Seconds without a new reply after which waiting ends.
    deadline : float, optional
        Seconds after which waiting ends in any case.
    late : dict, optional
        Is filled with message id → key of the messages without a reply.
    watch : Stopwatch, optional
        Measures the time of sending.
    """
    with (watch or Stopwatch()).phase("send"):
        sent = list(grid.push_messages(messages.values()))
    # Ordered: the first remaining one is found at once, however many before it have been answered.
    outstanding = OrderedDict(zip(sent, messages, strict=True))
    started = last = time.monotonic()
    for message_id, (key, message) in zip(sent, messages.items(), strict=True):
        if not message_id:
            outstanding.pop(message_id, None)
            yield key, Message(Error(NODE_UNAVAILABLE, _NOT_TAKEN), reply_to=message)
    pause = _SHORTEST_PAUSE
    while outstanding:
        arrived = False
        for reply in grid.pull_messages(outstanding.keys()):
            answered = reply.metadata.reply_to_message_id
            if answered in outstanding:  # a second reply to a message is ignored
                arrived = True
                yield outstanding.pop(answered), reply
        now = time.monotonic()
        if arrived:
            last, pause = now, _SHORTEST_PAUSE
        if not outstanding or now - last >= timeout or now - started >= deadline:
            break
        if not arrived:
            time.sleep(min(pause, last + timeout - now, started + deadline - now))
            pause = min(2 * pause, max(_USUAL_PAUSE, _SHARE * (now - started)), _LONGEST_PAUSE)
    if late is not None:
        late.update(outstanding)
