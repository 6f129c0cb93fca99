"""How many local steps a client makes in a round."""

from common.config import Config
from common.sections import LocalSection
from common.stragglers import steps_in_time, work_share


def num_steps(local: LocalSection, num_examples: int) -> int:
    """Return the number of optimiser steps of one client in one round."""
    return local.steps or local.epochs * local.steps_per_pass(num_examples)


def round_budget(
    config: Config, server_round: int, client_id: int, num_examples: int, assigned_steps: int = 0
) -> LocalSection:
    """Return the local budget of a client in a round, or as much of it as a straggler manages.

    `assigned_steps` are those that the server decides (``steps.rule``), 0 if it does not.
    """
    local = config.local
    if local.steps and (local.phases or local.total_steps):
        local = local.model_copy(update={"steps": local.step_plan().steps(server_round)})
    if assigned_steps:
        local = local.model_copy(update={"epochs": 0, "steps": assigned_steps})
    share = work_share(config, server_round, client_id)
    if share == 1:
        return local
    steps = steps_in_time(num_steps(local, num_examples), share)
    return local.model_copy(update={"epochs": 0, "steps": steps})
