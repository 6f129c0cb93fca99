"""The models of clients, from a checkpoint of a run."""

from collections.abc import Iterator, Sequence

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from common.config import Config
from common.errors import UserError
from common.records import ARRAYS, PERSONAL_MODEL, SERVER_ROUND, Tensors, to_record, to_tensors
from server.checkpoints.checkpoint import Checkpoint
from server.checkpoints.state_codec import restore_attributes
from server.messages.asking import ask, give_states
from server.messages.cohort_grid import CohortGrid
from server.parts import Parts
from server.preparation import make_parts


def personal_models(
    config: Config, grid: Grid, checkpoint: Checkpoint, client_ids: Sequence[int]
) -> Iterator[tuple[int, Tensors]]:
    """Yield the models by which clients predict, as they would be evaluated after the checkpoint's round.

    Parameters
    ----------
    config : Config
        The run's configuration.
    grid : Grid
        With one node per client, in any state.
    checkpoint : Checkpoint
        Of the run.
    client_ids : sequence of int
        Which clients. One that never took part has what it would start with.

    Raises
    ------
    UserError
        If there is no such client, or they have no models of their own.
    ClientFailureError
        If the client fails.
    """
    for client_id in client_ids:
        if not 0 <= client_id < config.clients.count:
            raise UserError(f"there is no client {client_id}: they are 0 to {config.clients.count - 1}")
    if config.model.sizes:
        raise UserError("the clients of this run hold parts of the model (model.sizes): leave --client out")
    parts = make_parts(config, grid)
    restore_attributes(parts.strategy, *checkpoint.strategy)
    for client_id in client_ids:
        yield client_id, _personal_model(parts, grid, checkpoint, client_id)


def _personal_model(parts: Parts, grid: Grid, checkpoint: Checkpoint, client_id: int) -> Tensors:
    config, strategy, clients = parts.config, parts.strategy, parts.clients
    if client_id in checkpoint.clients:
        give_states(config, grid, clients, {client_id: checkpoint.clients[client_id]})
    [evaluation] = strategy.configure_evaluate(
        checkpoint.server_round,
        to_record(checkpoint.arrays),
        ConfigRecord({SERVER_ROUND: checkpoint.server_round}),
        CohortGrid(grid, [clients.node_ids[client_id]]),
    )
    parts.evaluation.recalibrate_models(evaluation.content)
    question = Message(
        evaluation.content, dst_node_id=evaluation.metadata.dst_node_id, message_type=PERSONAL_MODEL
    )
    [(_, answer)] = ask(config, grid, {client_id: question})
    return {name: value.clone() for name, value in to_tensors(answer.array_records[ARRAYS]).items()}
