"""The model of one client, from a run's last checkpoint."""

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from common.config import Config
from common.errors import UserError
from common.records import ARRAYS, PERSONAL_MODEL, SERVER_ROUND, Tensors, to_record, to_tensors
from server.checkpoints.checkpoint import Checkpoint
from server.checkpoints.state_codec import restore_attributes
from server.experiment import prepare
from server.messages.asking import ask, give_states
from server.messages.cohort_grid import CohortGrid


def personal_model(config: Config, grid: Grid, checkpoint: Checkpoint, client_id: int) -> Tensors:
    """Return the model by which a client predicts, as it would be evaluated after the checkpoint's round.

    Parameters
    ----------
    config : Config
        The run's configuration.
    grid : Grid
        With one node per client, in any state.
    checkpoint : Checkpoint
        Of the run.
    client_id : int
        Which client. One that never took part has what it would start with.

    Raises
    ------
    UserError
        If there is no such client, or it has no model of its own.
    ClientFailureError
        If the client fails.
    """
    if not 0 <= client_id < config.clients.count:
        raise UserError(f"there is no client {client_id}: they are 0 to {config.clients.count - 1}")
    if config.model.sizes:
        raise UserError("the clients of this run hold parts of the model (model.sizes): leave --client out")
    parts = prepare(config, grid)
    strategy, clients = parts.strategy, parts.clients
    restore_attributes(strategy, *checkpoint.strategy)
    give_states(
        config, grid, clients, {key: state for key, state in checkpoint.clients.items() if key == client_id}
    )
    [evaluation] = strategy.configure_evaluate(
        checkpoint.server_round,
        to_record(checkpoint.arrays),
        ConfigRecord({SERVER_ROUND: checkpoint.server_round}),
        CohortGrid(grid, [clients.node_ids[client_id]]),
    )
    question = Message(
        evaluation.content, dst_node_id=evaluation.metadata.dst_node_id, message_type=PERSONAL_MODEL
    )
    [(_, answer)] = ask(config, grid, {client_id: question})
    return {name: value.clone() for name, value in to_tensors(answer.array_records[ARRAYS]).items()}
