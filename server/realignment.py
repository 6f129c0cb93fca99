"""Evaluation of a run's last checkpoint, with the clients' own predictions, without any training."""

from dataclasses import dataclass
from typing import get_args

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from clients.registry import load_method
from common.config import Config
from common.errors import UserError
from common.records import SERVER_ROUND, metrics_record, to_record
from models.heads.realignment import Inference
from models.measures.class_report import GROUP_NAMES
from server.checkpoints.checkpoint import Checkpoint
from server.checkpoints.state_codec import restore_attributes
from server.messages.asking import ask, give_states
from server.messages.cohort_grid import CohortGrid
from server.preparation import make_parts
from server.records.client_metrics import ClientMetrics
from server.variants import variants_of
from strategies.fedloge import FedLoGe

FORMS: tuple[str, ...] = get_args(Inference)
"""The published forms of the personalised prediction."""
GROUPS = GROUP_NAMES


@dataclass(frozen=True)
class Realigned:
    """Results of a run's realigned heads.

    Attributes
    ----------
    central : dict
        Loss and accuracy of the global model and its variants, as ``metrics.csv`` names them.
    clients : dict
        client id → what it measured, as in ``evaluations.csv``.
    """

    central: dict[str, float]
    clients: ClientMetrics


def evaluate_checkpoint(config: Config, grid: Grid, checkpoint: Checkpoint) -> Realigned:
    """Realign the heads that a checkpoint of FedLoGe holds, on the server and on all clients.

    Parameters
    ----------
    config : Config
        The run's configuration; what realignment takes (``method.inference``, ``method.kappa``, ...) may
        be another than the run had.
    grid : Grid
        With one node per client, in any state.
    checkpoint : Checkpoint
        Of the run.

    Raises
    ------
    UserError
        If the run has another method.
    ClientFailureError
        If a client cannot evaluate.
    """
    parts = make_parts(config, grid)
    strategy, clients = parts.strategy, parts.clients
    if not isinstance(strategy, FedLoGe):
        raise UserError(f"realignment is for runs of 'fedloge', and this one is of '{config.method.name}'")
    restore_attributes(strategy, *checkpoint.strategy)
    # The checkpoint also holds the parameters; those that are asked for now take precedence.
    vars(strategy).update(load_method(config.method.name, config.method.parameters).strategy_parameters)
    central = parts.evaluation(to_record(checkpoint.arrays), variants_of(strategy, checkpoint.arrays))
    give_states(config, grid, clients, checkpoint.clients)
    messages = strategy.configure_evaluate(
        checkpoint.server_round,
        to_record(checkpoint.arrays),
        ConfigRecord({SERVER_ROUND: checkpoint.server_round}),
        CohortGrid(grid, clients.node_ids.values()),
    )
    by_client = {clients.client_ids[message.metadata.dst_node_id]: message for message in messages}
    measured = {
        client_id: {
            name: value for name, value in metrics_record(content).items() if isinstance(value, int | float)
        }
        for client_id, content in ask(config, grid, by_client)
    }
    return Realigned(central, dict(sorted(measured.items())))
