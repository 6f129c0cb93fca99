"""The virtual clock of asynchronous methods, as a run's configuration asks for it."""

from common.clock import ClientSpeeds
from common.config import Config
from common.errors import UserError
from common.rates import varies_by_step
from server.messages.directory import ClientDirectory
from server.participation import cohort_size
from strategies._asynchronous import Asynchronous
from strategies.fedavg import FedAvg


def start_clock(config: Config, strategy: FedAvg, clients: ClientDirectory) -> None:
    """Tell an asynchronous strategy who its clients are and how fast; do nothing for any other.

    Raises
    ------
    UserError
        If something is configured that has no meaning without rounds.
    """
    if not isinstance(strategy, Asynchronous):
        return
    name = config.method.name
    if config.participation.name != "uniform":
        raise UserError(
            f"method.name '{name}' is asynchronous: clients take part when they have finished, so leave"
            " participation.name at 'uniform'"
        )
    if config.privacy.clipping != "off":
        raise UserError(f"privacy.* does not cover '{name}', whose updates mix models of several rounds")
    if config.stragglers.policy == "drop":
        raise UserError(f"'{name}' waits for nobody: stragglers.policy must be 'keep'; see clock.spread")
    if config.steps.rule != "fixed":
        raise UserError(
            f"clients of '{name}' share no rounds to decide local steps for: leave steps.rule at 'fixed'"
        )
    local = config.local
    if local.sampling != "client" or local.phases or local.total_steps or varies_by_step(config):
        raise UserError(
            f"clients of '{name}' share no count of local steps: use local.sampling = 'client' and a"
            " schedule by rounds, without local.phases, local.total-steps, schedule.warmup-steps and"
            " schedule.warmup-epochs"
        )
    concurrency = cohort_size(config.clients.count, config.clients.fraction)
    strategy.meet(ClientSpeeds(config), clients.client_ids, concurrency, config.seed)
