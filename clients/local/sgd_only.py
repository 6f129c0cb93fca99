"""Checks for methods whose formulas hold for SGD only."""

from clients.local.optimizers import clips_decay
from clients.local.worker import Worker
from common.errors import UserError
from common.sections import OptimizerSection


def require_plain_sgd(optimizer: OptimizerSection, method: str, allow_clipping: bool = False) -> None:
    """Refuse local steps other than x - y = lr * sum_k a_k g_k.

    Momentum is covered by the weights a_k (``clients.local.step_weights``).

    Raises
    ------
    UserError
        If the optimiser is not SGD, or if gradients are clipped.
    """
    if optimizer.name != "sgd":
        raise UserError(
            f"'{method}' assumes steps of plain SGD, but optimizer.name is '{optimizer.name}':"
            " set it to 'sgd'"
        )
    if optimizer.clip_norm > 0 and not allow_clipping:
        raise UserError(f"'{method}' assumes unclipped gradients: set optimizer.clip-norm to 0")


def require_own_clipping(optimizer: OptimizerSection, method: str) -> None:
    """Refuse options that would change the length of the steps of a method that does its own clipping.

    Raises
    ------
    UserError
        If the optimiser is not SGD without momentum, or if gradients are clipped elsewhere.
    """
    if optimizer.name != "sgd" or optimizer.parameters.get("momentum", 0.0) != 0 or optimizer.clip_norm > 0:
        raise UserError(
            f"method '{method}' clips by method.clip-norm and takes optimizer.name = 'sgd' without"
            " optimizer.momentum and optimizer.clip-norm"
        )


def require_no_momentum(optimizer: OptimizerSection, method: str) -> None:
    """Refuse local steps other than lr times the direction that the method computes from the gradient.

    Raises
    ------
    UserError
        If the optimiser is not SGD, or has momentum.
    """
    if optimizer.name != "sgd" or optimizer.parameters.get("momentum", 0.0) != 0:
        raise UserError(
            f"'{method}' has a momentum of its own and takes optimizer.name = 'sgd' without"
            " optimizer.momentum"
        )


def require_clipped_decay(worker: Worker, method: str) -> None:
    """Refuse clipping without the weight decay, for methods whose gradients cancel what the optimiser adds.

    Clipping would shorten what cancels the decay, which is added in full.

    Raises
    ------
    UserError
        If gradients are clipped and weight decay is added afterwards.
    """
    optimizer = worker.optimizer
    decays = any(group.get("weight_decay", 0.0) for group in optimizer.param_groups)
    if worker.config.optimizer.clip_norm > 0 and decays and not clips_decay(optimizer):
        raise UserError(
            f"'{method}' has a weight decay of its own, which is clipped with the gradient: set"
            " optimizer.clip-decay = true, or optimizer.clip-norm or optimizer.weight-decay to 0"
        )
