"""Learning rates as functions of the round."""

import math

from common.config import LocalSection, fractions


def learning_rate(local: LocalSection, server_round: int, num_rounds: int) -> float:
    """Return the learning rate of a round.

    With t = ``server_round - 1`` and T = ``num_rounds``: ``constant`` keeps lr; ``cosine`` is
    lr (1 + cos(pi t / T)) / 2 (Loshchilov and Hutter 2017, Eq. 5, one period down to zero); ``step``
    multiplies by ``scheduler-gamma`` every ``scheduler-step-rounds`` rounds. During the first W =
    ``warmup-rounds`` rounds the rate is also multiplied by (t + 1) / W (Goyal et al. 2017, gradual warm-up).
    ``milestones`` multiplies by ``scheduler-gamma`` after floor(f T) rounds for each fraction f.

    Parameters
    ----------
    local : LocalSection
        The keys ``local.*``.
    server_round : int
        Round, from 1.
    num_rounds : int
        Length of the schedule in rounds.
    """
    elapsed = server_round - 1
    rate = local.learning_rate
    if local.scheduler == "cosine":
        rate *= (1 + math.cos(math.pi * elapsed / num_rounds)) / 2
    elif local.scheduler == "step":
        rate *= local.scheduler_gamma ** (elapsed // local.scheduler_step_rounds)
    elif local.scheduler == "milestones":
        passed = sum(elapsed >= math.floor(f * num_rounds + 1e-9) for f in fractions(local.milestones))
        rate *= local.scheduler_gamma**passed
    if elapsed < local.warmup_rounds:
        rate *= (elapsed + 1) / local.warmup_rounds
    return rate
