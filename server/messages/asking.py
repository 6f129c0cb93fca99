"""Questions to clients outside a run's rounds, all of which must be answered."""

from collections import deque
from collections.abc import Iterator, Mapping

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from common.config import Config
from common.errors import CLIENT_MISCONFIGURED, ClientFailureError, UserError
from common.records import SET_STATE, Payload, to_record
from server.messages.client_registry import ClientRegistry
from server.messages.exchange import exchange


def ask(config: Config, grid: Grid, messages: Mapping[int, Message]) -> Iterator[tuple[int, RecordDict]]:
    """Send a message to each client, and yield client id and content of each reply.

    Raises
    ------
    UserError
        If a client reports an error that the user can fix.
    ClientFailureError
        If a client fails, or does not answer.
    """
    missing = set(messages)
    for client_id, reply in exchange(grid, messages, config.failures.timeout):
        if reply.has_error() and reply.error.code == CLIENT_MISCONFIGURED:
            raise UserError(reply.error.reason)
        if reply.has_error():
            raise ClientFailureError(f"client {client_id} could not answer:\n{reply.error.reason}")
        missing.remove(client_id)
        yield client_id, reply.content
    if missing:
        raise ClientFailureError(f"no answer from client {min(missing)}: its node has gone")


def give_states(config: Config, grid: Grid, clients: ClientRegistry, states: Mapping[int, Payload]) -> None:
    """Send clients their states, by client id."""
    messages = {
        client_id: Message(
            RecordDict({name: to_record(section) for name, section in sections.items()}),
            dst_node_id=clients.node_ids[client_id],
            message_type=SET_STATE,
        )
        for client_id, sections in states.items()
    }
    deque(ask(config, grid, messages), maxlen=0)
