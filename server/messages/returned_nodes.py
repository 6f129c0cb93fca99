"""Reconnects nodes that were started again, and checks that they are the clients of before."""

from collections.abc import Collection

from flwr.serverapp import Grid

from common.errors import UserError
from server.messages.client_registry import ClientRegistry
from server.messages.description import Description, version_remarks
from server.messages.discovery import describe
from server.messages.waiting import Say

# The digests of a node's data that stay when it returns; the last, of inputs, depends on decoders.
_DECIDES = 3


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
