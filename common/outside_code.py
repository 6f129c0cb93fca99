"""Whether a run uses third-party code, which may draw from global generators."""

from itertools import starmap

from common.config import Config
from common.plugin_kinds import (
    ATTACK,
    AUGMENTATION,
    CLIENT_HALF,
    CLOCK,
    COMPRESSION,
    LOSS,
    METRIC,
    MODEL,
    OBSERVER,
    OPTIMIZER,
    PARTICIPATION,
    SCHEDULE,
    SERVER_HALF,
    STEP_RULE,
    TOPOLOGY,
    TRACKER,
)
from common.plugins import is_from_outside
from common.reading import comma_list


def runs_outside_code(config: Config) -> bool:
    """Return whether a run's rounds use outside code: a named plug-in, or a library's model."""
    on_the_server = [
        (SERVER_HALF, config.method.name),
        (PARTICIPATION, config.participation.name),
        (STEP_RULE, config.steps.rule),
        (CLOCK, config.clock.profile),
        (TOPOLOGY, config.topology.name),
        *((OBSERVER, name) for name in comma_list("observers", config.observers)),
        *((TRACKER, name) for name in comma_list("tracking", config.tracking)),
    ]
    return clients_run_outside_code(config) or any(starmap(is_from_outside, on_the_server))


def clients_run_outside_code(config: Config) -> bool:
    """Return whether outside code takes part in what clients do, and in evaluation, which workers share."""
    of_clients = [
        (CLIENT_HALF, config.method.name),
        (MODEL, config.model.name),
        (LOSS, config.loss.name),
        (OPTIMIZER, config.optimizer.name),
        (SCHEDULE, config.schedule.name),
        (AUGMENTATION, config.augmentation.name),
        (ATTACK, config.attack.name),
        (COMPRESSION, config.compression.name),
        *((METRIC, name) for name in comma_list("metrics", config.metrics)),
    ]
    return any(starmap(is_from_outside, of_clients))
