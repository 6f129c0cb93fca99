"""AdaComm: fewer local steps as the loss falls."""

import math

from common.step_rules import MAX_STEPS, ROUNDING, Progress, StepRule

_MIN_RATE = 1e-300


class AdaComm(StepRule):
    """J = ceil(sqrt(lr_0 F / (lr F_0)) J_0) (Wang and Joshi 2019, Eqs. 17 and 18).

    If the rate has not fallen, J must fall: it is halved if the formula does not lower it.
    """

    looks_at_rate = True
    follows_clients = True
    depends_on_length = False

    _last_factor = 1.0

    def steps(self, progress: Progress) -> int:
        """Return J, once there is a loss."""
        if not progress.first_loss:
            return progress.steps
        factor = progress.base_rate / max(progress.rate, _MIN_RATE)
        steps = adacomm(progress.loss, progress.first_loss, progress.base_steps, factor)
        if factor == self._last_factor and steps >= progress.steps:
            steps = progress.steps // 2
        self._last_factor = factor
        return steps


def adacomm(loss: float, first_loss: float, first_steps: int, rate_factor: float = 1.0) -> int:
    """Return J = ceil(sqrt(factor F / F_0) J_0).

    Parameters
    ----------
    loss, first_loss : float
        Current training loss F, and that of the first round, F_0.
    first_steps : int
        J_0.
    rate_factor : float, default 1.0
        lr_0 / lr, so that smaller rates mean more steps.
    """
    steps = math.sqrt(rate_factor * loss / first_loss) * first_steps
    return math.ceil(min(steps, MAX_STEPS) - ROUNDING)
