"""Why clients cannot be trained as a stack."""

import contextlib
import sys
from collections.abc import Iterator

from torch import nn

from clients.local.worker import Worker
from common.chosen import chosen_function
from common.global_generators import seeded_globally
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
            f"optimizer.name '{config.optimizer.name}' looks at more than one element at a time, or its file"
            " does not say that it does not (ELEMENTWISE = True)"
        )


@contextlib.contextmanager
def drawing_nothing(worker: Worker) -> Iterator[None]:
    """Run a block for a client of a stack, or for all, and refuse it if it draws from a global generator.

    Each client's draws begin with a seed of its own where it trains by itself.

    Raises
    ------
    NotStackableError
        If the block has drawn.
    """
    if not worker.runs_outside_code:
        yield
        return
    with seeded_globally(0, worker.device, worker.own_generators) as has_drawn:
        yield
        if has_drawn():
            raise NotStackableError(
                "code from outside the project draws from generators that all clients share"
            )


def is_elementwise(section: OptimizerSection) -> bool:
    """Return whether an optimiser declares that its steps are elementwise."""
    module = sys.modules[chosen_function(OPTIMIZER, section).func.__module__]
    return bool(getattr(module, "ELEMENTWISE", False))
