"""The learning rate of every round and local step: scaling, warm-up and schedule."""

import math
from collections.abc import Iterable

from common.config import Config
from common.errors import UserError, shown
from common.schedules import schedule_of


def base_rate(config: Config) -> float:
    """Return ``optimizer.learning-rate`` scaled from the reference batch size to the actual one."""
    return config.optimizer.learning_rate * config.optimizer.batch_factor(config.local.batch_size)


def learning_rate(config: Config, server_round: int) -> float:
    """Return the learning rate of a round: that of ``decayed_rate``, with warm-up.

    During the first W = ``warmup-rounds`` rounds it is multiplied by t / W, rounds t counting from 1 (Goyal
    et al. 2017, gradual warm-up).
    """
    rate, warm_up = decayed_rate(config, server_round), config.schedule.warmup_rounds
    return rate * (server_round / warm_up) if server_round < warm_up else rate


def decayed_rate(config: Config, server_round: int) -> float:
    """Return the learning rate of a round, from 1, without warm-up.

    It is ``base_rate`` times the factor of the schedule, and times ``schedule.phase-gamma`` for every
    completed phase of ``local.phases``.
    """
    rate = base_rate(config)
    if config.local.phases:
        rate *= config.schedule.phase_gamma ** config.local.step_plan().phase(server_round)
    factor = schedule_of(config.schedule).by_round(server_round - 1, config.rounds)
    return rate * _checked(factor, config, f"round {server_round}")


def varies_by_step(config: Config) -> bool:
    """Return whether the learning rate may change within a round."""
    schedule = config.schedule
    return schedule.warmup_steps > 0 or schedule.warmup_epochs > 0 or schedule_of(schedule).varies_by_step


def gradual_warmup_steps(config: Config, steps_per_epoch: int) -> int:
    """Return the local steps that ``warmup-epochs`` take; with ``sqrt`` scaling B / B_ref times as long.

    That is the rule of You et al. 2020; with ``linear`` scaling the warm-up keeps its length in epochs.
    """
    scaled = config.optimizer.learning_rate_scaling == "sqrt"
    ratio = config.local.batch_size / config.optimizer.reference_batch_size if scaled else 1.0
    return int(config.schedule.warmup_epochs * ratio * steps_per_epoch + 0.5)


def step_factors(config: Config, steps: Iterable[int], total_steps: int, gradual: int) -> list[float]:
    """Return the factors on the round's rate in local steps.

    A linear warm-up from ``warmup-learning-rate`` (the rate of the very first step) to ``base_rate`` over
    W = ``warmup-steps`` steps: (start + (rate - start) min(t, W) / W) / rate (Gu et al. 2023, code). A decay
    during the warm-up scales its remainder. During the W = `gradual` steps of ``warmup-epochs`` it is
    (t + 1) / W (You et al. 2020). The schedule's factor of the step is multiplied on top.

    Parameters
    ----------
    config : Config
        The run's configuration.
    steps : iterable of int
        Local steps t of this client since the start of the run, from 0.
    total_steps : int
        T, the length of the schedule in local steps.
    gradual : int
        W of ``warmup-epochs``; see ``gradual_warmup_steps``.
    """
    section, schedule = config.schedule, schedule_of(config.schedule)
    start, warm_up = section.warmup_learning_rate / base_rate(config), section.warmup_steps
    factors = []
    for step in steps:
        factor = 1.0
        if step < warm_up:
            factor = start + (1 - start) * (step / warm_up)
        if step < gradual:
            factor = (step + 1) / gradual
        decay = schedule.by_step(step, total_steps, gradual or warm_up)
        factors.append(factor * _checked(decay, config, f"local step {step}"))
    return factors


def _checked(factor: float, config: Config, when: str) -> float:
    if not 0 <= factor < math.inf:
        raise UserError(f"schedule.name '{config.schedule.name}' has the factor {shown(factor)} in {when}")
    return factor
