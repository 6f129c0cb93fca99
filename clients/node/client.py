"""Builds the client of a node for a job, with the state that it kept."""

from flwr.app import ConfigRecord, Context, Message

from clients.base import Client
from clients.local.incoming import check_size
from clients.local.threads import worker_of_thread
from clients.local.worker import Worker, get_worker
from clients.node.run_configuration import client_id_of, config_of
from clients.node.state_checks import keeps_state
from clients.registry import Method, method_of
from common.errors import UserError
from common.flower import RUN_ID
from common.records import MET, SIZE, config_record, to_payload


class ForgottenStateError(Exception):
    """The node has restarted since the server first met it, and its client's state is lost."""


def meet(context: Context) -> None:
    """Record in a client's state that the server has met this instance of the node."""
    context.state[MET] = ConfigRecord()


def make_client(context: Context, message: Message | None = None) -> Client:
    """Build the client of this node, with the state that it kept and a model of the message's size.

    Raises
    ------
    ForgottenStateError
        If the job needs state that the client has lost.
    """
    worker = worker_for(context, message)
    client = client_at(worker, method_of(worker.config), context)
    if message is not None:
        check_remembers(client, context)
    return client


def worker_for(context: Context, message: Message | None) -> Worker:
    """Return this process's worker, with a model of the message's size."""
    config = config_of(context)
    worker = worker_of_thread() or get_worker(config, str(context.node_config.get("data-root", "")))
    if message is None:
        return worker
    size = str(config_record(message.content).get(SIZE, ""))
    check_size(size, worker.model)
    return worker.sized(size)


def client_at(worker: Worker, method: Method, context: Context) -> Client:
    """Build the client of this node, with the state that it kept."""
    client_id, count = client_id_of(context), worker.config.clients.count
    if client_id >= count:
        raise UserError(
            f"this node has partition-id {client_id}, but clients.count is {count}:"
            " ids go from 0 to clients.count - 1"
        )
    state = {
        name: {key: value.to(worker.device, copy=True) for key, value in section.items()}
        for name, section in to_payload(context.state).items()
    }
    return method.client_class(worker, client_id, state, method.client_parameters)


def check_remembers(client: Client, context: Context) -> None:
    """Refuse a job for a client whose node has lost its state."""
    is_kept = context.run_id == RUN_ID or MET in context.state  # nodes of our own Grids live as long as these
    if not is_kept and keeps_state(client):
        raise ForgottenStateError("the node has been started again and has lost what its client kept")
