"""Node discovery: asks nodes which client each is."""

from collections.abc import Callable, Collection, Iterable

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from common.errors import CLIENT_FAILED, ClientFailureError, UserError, one_line
from common.flower import NODE_UNAVAILABLE, REPLY_LOST
from common.records import CONFIG, DESCRIBE
from server.messages.client_registry import ClientRegistry
from server.messages.description import (
    Description,
    check_agreement,
    device_remarks,
    read_description,
    version_remarks,
)
from server.messages.exchange import exchange
from server.messages.shared_nodes import node_of, partitions
from server.messages.waiting import Say, Waiting

Check = Callable[[Iterable[Description]], Iterable[str]]

_LONGEST_REASON = 400  # characters of Flower's error about a node


def discover_clients(
    grid: Grid,
    num_clients: int,
    timeout: float,
    say: Say = print,
    device: str = "cpu",
    check: Check = lambda _found: (),
) -> ClientRegistry:
    """Wait until `num_clients` nodes are connected, and ask each which client it is.

    `device` is the type of this process's device; `check` raises if the answers do not fit this process, and
    returns remarks.

    Raises
    ------
    UserError
        If nodes are missing after `timeout` seconds, one is misconfigured, or two are the same client.
    """
    waiting = Waiting(grid, num_clients, timeout, say)
    found: dict[int, Description] = {}
    asked: set[int] = set()
    while not found.keys() >= set(range(num_clients)):
        nodes = waiting.nodes()
        new = [node for node in nodes if node not in asked]
        if not new:
            _check_answers(found, nodes, num_clients)
            waiting.pause(found)
            continue
        asked |= set(new)
        lost: set[int] = set()
        for description in describe(grid, new, num_clients, timeout, lost=lost):
            if description.client_id in found:
                (partition,) = partitions(grid, [description.client_id])
                raise UserError(f"two nodes have partition-id {partition}: give each SuperNode its own")
            found[description.client_id] = description
        if lost:
            names = sorted({node_of(grid, node) for node in lost})
            say(f"the answer of node {', '.join(map(str, names))} was lost: it is asked again")
            asked -= lost
            waiting.pause(found)
    descriptions = [found[client] for client in sorted(found)]
    check_agreement(descriptions)
    for remark in (
        *check(descriptions),
        *version_remarks(descriptions),
        *device_remarks(descriptions, device),
    ):
        say(remark)
    return _registry(descriptions)


def describe(
    grid: Grid,
    nodes: Iterable[int],
    num_clients: int,
    timeout: float,
    say: Say | None = None,
    lost: set[int] | None = None,
) -> Iterable[Description]:
    """Ask nodes which client each is; nodes that have disconnected are left out.

    With `say`, a misconfigured node is reported with a line instead of an error. Nodes whose answer was lost
    on the way are added to `lost`.

    Raises
    ------
    UserError
        The error of a misconfigured node.
    ClientFailureError
        If a node's code failed.
    """
    query = RecordDict({CONFIG: ConfigRecord({"num-clients": num_clients})})
    messages = {node: Message(query, dst_node_id=node, message_type=DESCRIBE) for node in nodes}
    for node, reply in exchange(grid, messages, timeout):
        if has_gone(reply):
            continue
        if reply.has_error() and reply.error.code in REPLY_LOST:
            if lost is not None:
                lost.add(node)
            continue
        if reply.has_error():
            reason = _why(node_of(grid, node), reply)
            if say is None and reply.error.code == CLIENT_FAILED:
                raise ClientFailureError(f"node {node_of(grid, node)} could not describe itself:\n{reason}")
            if say is None:
                raise UserError(reason)
            say(f"node {node_of(grid, node)} takes no part: {one_line(reason.splitlines()[-1])}")
            continue
        yield read_description(node, reply.content, node_of(grid, node))


def _why(node: int, reply: Message) -> str:
    """Return why a node has not described itself: its ClientApp's error, or Flower's, shortened."""
    reason = (reply.error.reason or "no reason given").strip()
    if reply.error.code >= CLIENT_FAILED:  # the codes below are Flower's
        return reason
    last = one_line(reason.splitlines()[-1])
    return f"node {node} could not describe itself: {last[:_LONGEST_REASON]}"


def has_gone(reply: Message) -> bool:
    """Return whether a reply is Flower's error that the message's node has disconnected."""
    return reply.has_error() and reply.error.code == NODE_UNAVAILABLE


def _check_answers(found: Collection[int], nodes: Collection[int], num_clients: int) -> None:
    """Refuse to wait if all nodes are connected, but one is not a client of the run, or does not answer."""
    if len(nodes) >= num_clients and (missing := sorted(set(range(num_clients)) - set(found))):
        raise UserError(f"no node answers for client {missing[0]} ({len(missing)} of {num_clients} missing)")


def _registry(found: list[Description]) -> ClientRegistry:
    return ClientRegistry(
        {description.client_id: description.node_id for description in found},
        np.array([description.label_counts for description in found], dtype=np.int64),
        any(description.keeps_state for description in found),
        any(description.is_personalised for description in found),
        {name for description in found for name in description.personal_names},
        np.array([description.num_examples for description in found], dtype=np.int64),
        {description.client_id: description.versions for description in found},
        {description.client_id: description.data for description in found},
    )
