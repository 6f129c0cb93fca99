"""Node discovery: waits for nodes, asks which client each is, and reconnects those that come back."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from common.errors import CLIENT_FAILED, ClientFailureError, UserError, one_line
from common.flower import NODE_UNAVAILABLE, REPLY_LOST, is_simulation
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

Say = Callable[[str], None]
Check = Callable[[Iterable[Description]], Iterable[str]]

_POLL_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 30.0
# A node that was killed is listed until it has missed its heartbeats.
_GONE_SECONDS = 90.0
_MAX_NAMED = 10
_LONGEST_REASON = 400  # characters of Flower's error about a node
# The digests of a node's data that stay when it returns; the last, of inputs, depends on decoders.
_DECIDES = 3


@dataclass
class Waiting:
    """Waits for nodes up to a timeout, and reports meanwhile.

    Parameters
    ----------
    grid : Grid
        The Grid on which nodes appear.
    num_clients : int
        How many are expected; 0: as many as there are.
    timeout : float
        Seconds to wait.
    say : callable
        Prints a line for the user.
    """

    grid: Grid
    num_clients: int
    timeout: float
    say: Say
    _started: float = field(default_factory=time.monotonic)
    _said: float = float("-inf")
    _last: int = -1

    def nodes(self) -> list[int]:
        """Return the ids of the nodes that are there, ascending.

        Raises
        ------
        UserError
            If there are too many, or a simulation, whose nodes are all there from the start, has too few.
        """
        while True:
            nodes = sorted(self.grid.get_node_ids())
            settled, self._last = len(nodes) == self._last, len(nodes)
            if self.num_clients == 0 or len(nodes) == self.num_clients:
                return nodes
            if is_simulation(self.grid) and nodes and settled:
                raise UserError(
                    f"this simulation has {len(nodes)} nodes, but clients.count is {self.num_clients}: set"
                    f" clients.count = {len(nodes)}, or 0 for the nodes that are connected, or give the"
                    f" simulation --federation-config 'num-supernodes={self.num_clients}'"
                )
            if len(nodes) < self.num_clients and not is_simulation(self.grid):
                return nodes
            waited = time.monotonic() - self._started
            if len(nodes) > self.num_clients and waited > min(self.timeout, _GONE_SECONDS):
                raise UserError(
                    f"{len(nodes)} nodes are connected, but clients.count is {self.num_clients}:"
                    " set it to the number of nodes, or to 0 for those that are connected"
                )
            if waited > self.timeout:
                raise self._too_few(len(nodes))
            if len(nodes) > self.num_clients:
                self._say(f"{len(nodes)} nodes are connected, clients.count is {self.num_clients}: waiting")
            time.sleep(_POLL_SECONDS)

    def pause(self, found: Collection[int]) -> None:
        """Wait a moment for the clients that are not among those found, and report it now and then.

        Raises
        ------
        UserError
            If that has taken too long.
        """
        missing = sorted(set(range(self.num_clients)) - set(found))
        if time.monotonic() - self._started > self.timeout:
            raise self._too_few(len(found), missing)
        limit = f"{self.timeout:.0f} s at most, failures.timeout"
        if self.num_clients:
            self._say(
                f"waiting for nodes: {len(found)} of clients.count = {self.num_clients} are"
                f" there{self._named(missing)} ({limit}; clients.count = 0 takes those that are connected)"
            )
        else:
            self._say(f"waiting for a first node, since clients.count is 0 ({limit})")
        time.sleep(_POLL_SECONDS)

    def _say(self, text: str) -> None:
        if (now := time.monotonic()) - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            self.say(text)

    def _named(self, missing: Collection[int]) -> str:
        """Return a clause that names the partition ids for which no node is connected."""
        if not missing:
            return ""
        absent = partitions(self.grid, missing)
        named = ", ".join(map(str, absent[:_MAX_NAMED]))
        return f"; no node has partition-id {named}{', ...' if len(absent) > _MAX_NAMED else ''}"

    def _too_few(self, count: int, missing: Collection[int] = ()) -> UserError:
        if self.num_clients == 0:
            return UserError(f"no node connected within {self.timeout:.0f} s (failures.timeout)")
        return UserError(
            f"only {count} of clients.count = {self.num_clients} nodes connected within {self.timeout:.0f} s"
            f" (failures.timeout){self._named(missing)}"
        )


def count_nodes(grid: Grid, timeout: float, say: Say) -> int:
    """Return the number of nodes, once there are any and no more connect within a second."""
    waiting = Waiting(grid, 0, timeout, say)
    last = -1
    while not (nodes := waiting.nodes()) or len(nodes) != last:
        last = len(nodes)
        if nodes:
            time.sleep(_POLL_SECONDS)
        else:
            waiting.pause(())
    return last


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
    return _directory(descriptions)


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


def returned_clients(grid: Grid, clients: ClientRegistry, timeout: float, say: Say = print) -> list[int]:
    """Assign clients whose node has disconnected to a new node with their partition id.

    A restarted SuperNode has another node id. Nodes that are not clients of the run are ignored, and asked
    only while a client's node is missing.

    Returns
    -------
    list of int
        The clients that are back; the state that their nodes kept is lost.

    Raises
    ------
    UserError
        If one came back with other data.
    """
    nodes = grid.get_node_ids()
    if not (new := clients.unknown(nodes)):
        return []
    there, back = set(nodes), []
    if there >= clients.client_ids.keys():
        return []
    for description in describe(grid, sorted(new), len(clients.node_ids), timeout, say):
        client_id = description.client_id
        if client_id not in clients.node_ids or clients.node_ids[client_id] in there:
            continue  # the old node is still listed: try again in a later round
        _check_returned(description, clients, say)
        clients.move(client_id, description.node_id)
        back.append(client_id)
    return sorted(back)


def meet_again(
    grid: Grid, clients: ClientRegistry, client_ids: Collection[int], timeout: float, say: Say = print
) -> list[int]:
    """Ask nodes that restarted under their old ids which clients they are.

    Returns
    -------
    list of int
        The clients that answered; the state that their nodes kept is lost.

    Raises
    ------
    UserError
        If one came back with other data, or as another client.
    """
    node_ids = [clients.node_ids[client_id] for client_id in client_ids]
    back = []
    for description in describe(grid, node_ids, len(clients.node_ids), timeout):
        client_id = clients.client_ids[description.node_id]
        if description.client_id != client_id:
            raise UserError(
                f"the node of client {client_id} has come back as client {description.client_id}: start it"
                " with the partition-id of before"
            )
        _check_returned(description, clients, say)
        back.append(client_id)
    return sorted(back)


def _check_returned(description: Description, clients: ClientRegistry, say: Say) -> None:
    """Refuse other data; report and note other versions."""
    client_id = description.client_id
    before = (clients.label_counts[client_id].tolist(), int(clients.num_examples[client_id]))
    known = clients.data.get(client_id, [])
    is_other = any(own != other for own, other in zip(known[:_DECIDES], description.data, strict=False))
    if (description.label_counts, description.num_examples) != before or is_other:
        raise UserError(
            f"the node of client {client_id} has come back with different data: start it with the"
            " data of before, or start a new run"
        )
    if client_id in clients.versions and description.versions != clients.versions[client_id]:
        clients.versions[client_id] = description.versions
        for remark in version_remarks([description]):
            say(remark)


def _check_answers(found: Collection[int], nodes: Collection[int], num_clients: int) -> None:
    """Refuse to wait if all nodes are connected, but one is not a client of the run, or does not answer."""
    if len(nodes) >= num_clients and (missing := sorted(set(range(num_clients)) - set(found))):
        raise UserError(f"no node answers for client {missing[0]} ({len(missing)} of {num_clients} missing)")


def _directory(found: list[Description]) -> ClientRegistry:
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
