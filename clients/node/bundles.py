"""Several clients on one node: they do their jobs one after the other, each with its own state."""

import copy
from collections.abc import Callable

from flwr.app import Context, Message, RecordDict

from clients.local.incoming import RefusedMessageError
from common.bundle import Answer, pack_answers, prefixed, split, unpack
from common.flower import new_content, rebuild_message

_PARTITION, _COUNT = "partition-id", "num-partitions"


def answer_each(
    message: Message, context: Context, num_places: int, answer: Callable[[Message, Context], Message]
) -> RecordDict:
    """Answer a bundle of messages, each as one of this node's clients; return the content of the reply.

    Parameters
    ----------
    message : Message
        The bundle.
    context : Context
        The node's context; its state has the records of all of its clients.
    num_places : int
        How many clients the node serves (``resources.clients-per-node``): node i those from i * num_places.
    answer : callable
        Answers one message as one client.

    Raises
    ------
    RefusedMessageError
        If it is not a bundle for such a node.
    """
    try:
        contents = unpack(message.content, num_places)
    except ValueError as error:
        raise RefusedMessageError(f"a message to several clients is refused: {error}") from None
    states = split(context.state)
    answers: dict[int, Answer] = {}
    for place, content in contents.items():
        own = _as_client(context, place, num_places)
        own.state = new_content(states.get(place, {}))
        reply = answer(rebuild_message(content, message.metadata), own)
        states[place] = dict(own.state)
        answers[place] = Answer(error=reply.error) if reply.has_error() else Answer(reply.content)
    context.state.clear()
    for place, records in states.items():
        context.state.update(prefixed(new_content(records), place))
    return pack_answers(answers)


def _as_client(context: Context, place: int, num_places: int) -> Context:
    """Return the context of one of a node's clients, as if it were a node by itself."""
    own, node = copy.copy(context), dict(context.node_config)
    if _PARTITION in node:
        node[_PARTITION] = int(node[_PARTITION]) * num_places + place
    if _COUNT in node:
        node[_COUNT] = int(node[_COUNT]) * num_places
    own.node_config = node
    return own
