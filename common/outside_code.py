"""Whether other people's code takes part in a run, which may draw from global generators."""

from common.config import Config
from common.plugins import (
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
    is_from_outside,
)


def runs_outside_code(config: Config) -> bool:
    """Return whether code that is not ours takes part in a run's rounds: by name, or a library's model."""
    chosen = [
        (CLIENT_HALF, config.method.name),
        (SERVER_HALF, config.method.name),
        (MODEL, config.model.name),
        (PARTICIPATION, config.participation.name),
        (LOSS, config.loss.name),
        (OPTIMIZER, config.optimizer.name),
        (SCHEDULE, config.schedule.name),
        (AUGMENTATION, config.augmentation.name),
        (STEP_RULE, config.steps.rule),
        (CLOCK, config.clock.profile),
        (TOPOLOGY, config.topology.name),
        *((METRIC, name) for name in config.metrics.split(",") if name),
        *((OBSERVER, name) for name in f"{config.observers},{config.tracking}".split(",") if name),
    ]
    return any(is_from_outside(kind, name) for kind, name in chosen)
