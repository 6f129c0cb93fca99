"""Why clients cannot be trained as a stack."""

import sys

from torch import nn

from clients.local.worker import Worker
from common.chosen import chosen_function
from common.plugin_kinds import OPTIMIZER
from common.sections import OptimizerSection


class NotStackableError(Exception):
    """Clients cannot be trained as a stack; the message is the reason, a clause."""


def check_stackable(worker: Worker) -> None:
    """Refuse what is known in advance to give different results in a stack.

    Raises
    ------
    NotStackableError
        With the reason.
    """
    config = worker.config
    if worker.runs_outside_code:
        raise NotStackableError(
            "code from outside the project takes part, which may draw from generators that all clients share"
        )
    if config.local.compile:
        raise NotStackableError("local.compile compiles the model for one client")
    if config.local.channels_last and worker.dropout_layers:
        raise NotStackableError("with local.channels-last a client's dropout draws in another order")
    if any(isinstance(module, nn.RNNBase) for module in worker.model.modules()):
        raise NotStackableError(
            "vmap has no rule for torch's recurrent layers, which also hold weights twice"
        )
    if not is_elementwise(config.optimizer):
        raise NotStackableError(
            f"optimizer.name '{config.optimizer.name}' looks at more than one element at a time"
        )


def is_elementwise(section: OptimizerSection) -> bool:
    """Return whether an optimiser declares that its steps are elementwise."""
    module = sys.modules[chosen_function(OPTIMIZER, section).func.__module__]
    return bool(getattr(module, "ELEMENTWISE", False))
