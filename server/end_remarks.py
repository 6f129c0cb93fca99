"""What is remarked when a run has ended."""

from torch import nn

from common.device import has_fast_bfloat16, resolve_device
from server.messages.divergence import grown_loss
from server.round_loop import RoundLoop

_WORTH_A_HINT = 60.0  # seconds of a run


def divergence(loop: RoundLoop) -> str:
    """Return how far the loss rose if the run has diverged, although all its numbers are finite; or "".

    Where clients attack that may be the result; where they have models of their own, the global one need not
    be good.
    """
    if loop.config.attack.name != "none" or loop.parts.clients.is_personalised:
        return ""
    return grown_loss(loop.observers.best.first, loop.observers.best.final)


def faster_way(loop: RoundLoop) -> str:
    """Return what would have made a run of some length faster on this machine; or ""."""
    config, model = loop.config, loop.parts.evaluation.model
    if (
        loop.seconds < _WORTH_A_HINT
        or resolve_device(config.device).type != "cpu"
        or config.local.precision != "float32"
        or not any(isinstance(module, nn.Conv2d) for module in model.modules())
        or not has_fast_bfloat16()
    ):
        return ""
    return (
        "a faster way on this CPU: local.precision = 'bfloat16' with local.channels-last = true about halves"
        " the time of convolutions, and evaluate.precision = 'bfloat16' that of tests; both round more"
        " coarsely, so compare only runs that agree in them"
    )
