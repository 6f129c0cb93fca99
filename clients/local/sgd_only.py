"""The check for methods whose formulas hold for SGD only."""

from common.errors import UserError
from common.sections import LocalSection


def require_plain_sgd(local: LocalSection, method: str, allow_clipping: bool = False) -> None:
    """Refuse local steps other than x - y = lr * sum_k a_k g_k.

    Momentum is covered by the weights a_k (``clients.local.step_weights``).

    Raises
    ------
    UserError
        If the optimiser is not SGD, or if gradients are clipped.
    """
    if local.optimizer != "sgd":
        raise UserError(
            f"'{method}' computes with steps of plain SGD, and local.optimizer is '{local.optimizer}':"
            " set it to 'sgd'"
        )
    if local.clip_norm > 0 and not allow_clipping:
        raise UserError(f"'{method}' computes with unclipped gradients: set local.clip-norm to 0")


def require_own_clipping(local: LocalSection, method: str) -> None:
    """Refuse what would make steps of another length than a method that clips by itself computes.

    Raises
    ------
    UserError
        If the optimiser is not SGD without momentum, or if gradients are clipped elsewhere.
    """
    if local.optimizer != "sgd" or local.momentum > 0 or local.clip_norm > 0:
        raise UserError(
            f"method '{method}' clips by method.clip-norm and takes local.optimizer = 'sgd' without"
            " local.momentum and local.clip-norm"
        )
