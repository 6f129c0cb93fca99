"""Whether a run uses third-party code, which may draw from global generators."""

from common.config import Config
from common.plugin_kinds import (
    ATTACK,
    AUGMENTATION,
    CLIENT_HALF,
    CLOCK,
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
    chosen = [
        (CLIENT_HALF, config.method.name),
        (SERVER_HALF, config.method.name),
        (MODEL, config.model.name),
        (PARTICIPATION, config.participation.name),
        (LOSS, config.loss.name),
        (OPTIMIZER, config.optimizer.name),
        (SCHEDULE, config.schedule.name),
        (AUGMENTATION, config.augmentation.name),
        (ATTACK, config.attack.name),
        (STEP_RULE, config.steps.rule),
        (CLOCK, config.clock.profile),
        (TOPOLOGY, config.topology.name),
        *((METRIC, name) for name in comma_list("metrics", config.metrics)),
        *((OBSERVER, name) for name in comma_list("observers", config.observers)),
        *((TRACKER, name) for name in comma_list("tracking", config.tracking)),
    ]
    return any(is_from_outside(kind, name) for kind, name in chosen)
