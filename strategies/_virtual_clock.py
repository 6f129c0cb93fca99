"""Configuration checks for asynchronous methods, whose clients finish by a virtual clock."""

from common.config import Config
from common.errors import UserError
from common.rates import varies_by_step
from strategies.fedavg import FedAvg


class OnVirtualClock(FedAvg):
    """A method whose clients take part when they have finished (``clock.*``)."""

    def check(self, config: Config) -> None:
        """Refuse what has no meaning without rounds."""
        super().check(config)
        name, local = config.method.name, config.local
        if config.participation.name != "uniform":
            raise UserError(
                f"method.name '{name}' is asynchronous: clients take part when they have finished, so leave"
                " participation.name at 'uniform'"
            )
        if config.stragglers.policy == "drop":
            raise UserError(
                f"'{name}' waits for no client: stragglers.policy must be 'keep'; see clock.spread"
            )
        if config.steps.rule != "fixed":
            raise UserError(
                f"clients of '{name}' share no rounds to decide local steps for: leave steps.rule at 'fixed'"
            )
        if config.evaluate.every_steps:
            raise UserError(
                f"clients of '{name}' share no count of local steps: use evaluate.every or evaluate.count,"
                " which count updates, instead of evaluate.every-steps"
            )
        if local.sampling != "client" or local.phases or local.total_steps or varies_by_step(config):
            raise UserError(
                f"clients of '{name}' share no count of local steps: use local.sampling = 'client' and a"
                " schedule by rounds, without local.phases, local.total-steps, schedule.warmup-steps and"
                " schedule.warmup-epochs"
            )

    def why_not_private(self) -> str:
        """Return the reason: updates mix models of several rounds."""
        return "whose updates mix models of several rounds"
