"""The number of local steps of a client in a round."""

import functools

from common.config import Config
from common.sections import LocalSection
from common.stragglers import steps_in_time, work_share


def num_steps(local: LocalSection, num_examples: int) -> int:
    """Return the number of optimiser steps of one client in one round."""
    return local.steps or local.epochs * local.steps_per_pass(num_examples)


def round_budget(
    config: Config, server_round: int, client_id: int, num_examples: int, assigned_steps: int
) -> LocalSection:
    """Return the local budget of a client in a round; for a straggler the share that it completes.

    `assigned_steps` are the steps that the server decides on (``steps.rule``); 0: none.
    """
    local = config.local
    if local.steps and (local.phases or local.total_steps):
        local = _of_steps(local, local.step_plan().steps(server_round))
    if assigned_steps:
        local = _of_steps(local, assigned_steps)
    share = work_share(config, server_round, client_id)
    if share == 1:
        return local
    return _of_steps(local, steps_in_time(num_steps(local, num_examples), share))


@functools.lru_cache(maxsize=64)
def _of_steps(local: LocalSection, steps: int) -> LocalSection:
    """Return a budget of a number of steps; cached, since a round's clients usually have the same."""
    return local.model_copy(update={"epochs": 0, "steps": steps})
