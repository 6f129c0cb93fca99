"""Learning rates as functions of the round and of the local step."""

import math

from common.sections import LocalSection, fractions


def learning_rate(local: LocalSection, server_round: int, num_rounds: int) -> float:
    """Return the learning rate of a round: that of ``decayed_rate``, with warm-up.

    During the first W = ``warmup-rounds`` rounds it is multiplied by t / W, rounds t counting from 1 (Goyal
    et al. 2017, gradual warm-up).
    """
    rate = decayed_rate(local, server_round, num_rounds)
    return rate * (server_round / local.warmup_rounds) if server_round < local.warmup_rounds else rate


def decayed_rate(local: LocalSection, server_round: int, num_rounds: int) -> float:
    """Return the learning rate of a round as if there were no warm-up.

    With t = ``server_round - 1`` and T = ``num_rounds``: ``constant`` keeps lr; ``cosine`` is
    lr (1 + cos(pi t / T)) / 2 (Loshchilov and Hutter 2017, Eq. 5, one period down to zero); ``step``
    multiplies by ``scheduler-gamma`` every ``scheduler-step-rounds`` rounds; ``milestones`` multiplies by it
    after floor(f T) rounds for each fraction f. With every new phase of ``phases`` the rate is multiplied by
    ``phase-gamma``, and always by ``batch_factor``.

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
    rate = local.learning_rate * batch_factor(local)
    if local.phases:
        rate *= local.phase_gamma ** local.course().phase(server_round)
    if local.scheduler == "cosine":
        rate *= (1 + math.cos(math.pi * elapsed / num_rounds)) / 2
    elif local.scheduler == "step":
        rate *= local.scheduler_gamma ** (elapsed // local.scheduler_step_rounds)
    elif local.scheduler == "milestones":
        passed = sum(elapsed >= math.floor(f * num_rounds + 1e-9) for f in fractions(local.milestones))
        rate *= local.scheduler_gamma**passed
    return rate


def varies_by_step(local: LocalSection) -> bool:
    """Tell whether the learning rate may change within a round."""
    return local.warmup_steps > 0 or local.warmup_epochs > 0 or local.scheduler.endswith("-steps")


def batch_factor(local: LocalSection) -> float:
    """Return what ``lr``, the rate for the reference batch size, is multiplied by for the actual one.

    B / B_ref (``linear``; Goyal et al. 2017), its square root (``sqrt``; You et al. 2020), or 1.
    """
    ratio = local.batch_size / local.reference_batch_size
    return {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[local.lr_scaling]


def gradual_warmup_steps(local: LocalSection, steps_per_epoch: int) -> int:
    """Return the local steps that ``warmup-epochs`` take; with ``sqrt`` scaling B / B_ref times as long.

    That is the rule of You et al. 2020; with ``linear`` scaling the warm-up keeps its length in epochs.
    """
    ratio = local.batch_size / local.reference_batch_size if local.lr_scaling == "sqrt" else 1.0
    return int(local.warmup_epochs * ratio * steps_per_epoch + 0.5)


def step_factor(local: LocalSection, step: int, total_steps: int, gradual: int = 0) -> float:
    """Return what the round's rate is multiplied by in a local step.

    A linear warm-up from ``warmup-lr`` (the rate of the very first step) to lr, which includes
    ``batch_factor``, over W = ``warmup-steps`` steps: (start + (lr - start) min(t, W) / W) / lr (Gu et al.
    2023, code). A decay in the midst of it scales what remains. During the W = `gradual` steps of
    ``warmup-epochs`` it is (t + 1) / W (You et al. 2020). ``cosine-steps`` is (1 + cos(pi t / T)) / 2,
    ``polynomial-steps`` (1 - (t - W) / (T - W))^power after the warm-up (LARS: power 2, LAMB: 1).

    Parameters
    ----------
    local : LocalSection
        The keys ``local.*``.
    step : int
        Local step t of this worker since the start of the run, from 0.
    total_steps : int
        T, the length of the schedule in local steps.
    gradual : int
        W of ``warmup-epochs``; see ``gradual_warmup_steps``.
    """
    factor = 1.0
    if step < local.warmup_steps:
        start = local.warmup_lr / (local.learning_rate * batch_factor(local))
        factor = start + (1 - start) * (step / local.warmup_steps)
    if step < gradual:
        factor = (step + 1) / gradual
    return factor * decay_factor(local, step, total_steps, gradual or local.warmup_steps)


def decay_factor(local: LocalSection, step: int, total_steps: int, warm_up: int) -> float:
    """Return the part of ``step_factor`` that is not warm-up, which takes `warm_up` steps."""
    if local.scheduler == "cosine-steps":
        return (1 + math.cos(math.pi * step / total_steps)) / 2
    if local.scheduler == "polynomial-steps" and step >= warm_up:
        return float((1 - (step - warm_up) / (total_steps - warm_up)) ** local.scheduler_power)
    return 1.0
