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
_SHARE = 0.05  # of the time waited so far, which is the most that looking late adds to it


def exchange(
    grid: Grid,
    messages: Mapping[int, Message],
    timeout: float,
    deadline: float = math.inf,
    late: dict[str, int] | None = None,
    watch: Stopwatch | None = None,
) -> Iterator[tuple[int, Message]]:
    """Send messages and yield (key, reply) as the replies come.

    Flower's own ``send_and_receive`` looks for replies every three seconds and returns them all at once;
    this polls sooner and lets the receiver reduce and free them one by one. A reply belongs to the message
    that it answers: an error that Flower makes for a node that has gone does not name the node. Where the
    Grid takes no message for a node, which then has no id, the reply is such an error, too. The Grid is given
    a live view of the ids that are left, not a copy, which would cost a square of their number.

    Parameters
    ----------
    messages : Mapping[int, Message]
        Any key → message, sent in this order.
    timeout : float
        Seconds without a new reply after which the rest is given up.
    deadline : float, optional
        Seconds after which the rest is given up in any case.
    late : dict, optional
        Where message id → key of what was given up is put.
    watch : Stopwatch, optional
        Counts the time of sending.
    """
    with (watch or Stopwatch()).phase("send"):
        sent = list(grid.push_messages(messages.values()))
    # Ordered: the first that is left is found at once, however many before it have been answered.
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
            if answered in outstanding:  # a second reply to a message counts for nothing
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
