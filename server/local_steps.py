"""Local steps that are decided round by round (``steps.*``), within ``local.total-steps``."""

import math
from collections.abc import Mapping
from typing import Any

from common.config import Config
from common.schedules import batch_factor, decay_factor, decayed_rate

_ROUNDING = 1e-9
_LEAST_RATE = 1e-300
_MOST = 1e15  # a rate that has all but vanished asks for more steps than any bound allows


def adacomm(loss: float, first_loss: float, first_steps: int, rate_factor: float = 1.0) -> int:
    """Return J = ceil(sqrt(factor F / F_0) J_0) (Wang and Joshi 2019, AdaComm, Eqs. 17 and 18).

    Parameters
    ----------
    loss, first_loss : float
        Training loss F now and F_0 at first.
    first_steps : int
        J_0.
    rate_factor : float, default 1.0
        lr_0 / lr, so that smaller rates mean more steps.
    """
    steps = math.sqrt(rate_factor * loss / first_loss) * first_steps
    return math.ceil(min(steps, _MOST) - _ROUNDING)


def quadratic_rule(rate: float, base_steps: int, coefficient: float) -> int:
    """Return J = max(J_base, floor((a / lr)^2)) (Gu et al. 2024, the quadratic synchronisation rule)."""
    ratio = coefficient / rate if rate > 0 else math.inf
    return max(base_steps, math.floor(min(ratio, math.sqrt(_MOST)) ** 2 + _ROUNDING))


def linear(progress: float, least: int, most: int) -> int:
    """Return J that grows from `least` to `most` in proportion to the progress, from 0 to 1."""
    return round(least + (most - least) * progress)


def doubling(progress: float, least: int, most: int) -> int:
    """Return J that doubles from `least` to `most`, each value for an equal share of the run."""
    num_values = 1 + math.floor(math.log2(most / least) + _ROUNDING)
    return int(least * 2 ** min(num_values - 1, math.floor(progress * num_values)))


class LocalSteps:
    """Decides how many local steps the clients of each round make.

    Parameters
    ----------
    config : Config
        The run's configuration: ``steps.*``, ``local.steps``, with which the rules begin, and their total.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._current = config.local.steps
        self._done = 0
        self._first_loss = 0.0
        self._loss = 0.0
        self._last_factor = 1.0
        self._measured: list[float] = []

    @property
    def is_fixed(self) -> bool:
        """Whether every round has the budget that ``local.*`` says."""
        return self._config.steps.rule == "fixed"

    @property
    def done(self) -> int:
        """Local steps of a client so far, if it was in every round."""
        return self._done

    def decide(self, server_round: int) -> int | None:
        """Return the local steps of a round; None leaves them to ``local.*``."""
        if self.is_fixed:
            return None
        section = self._config.steps
        if (server_round - 1) % section.interval == 0:
            self._current = self._bounded(self._rule(server_round))
        total = self._config.local.total_steps
        return min(self._current, total - self._done) if total else self._current

    def observe(self, num_steps: int | None, row: Mapping[str, Any]) -> str:
        """Take note of a round's steps and results; return why the run ends here, if it does."""
        if num_steps is None:
            return ""
        if row["train_loss"] is not None:  # somebody has trained
            self._done += num_steps
            self._loss = float(row["train_loss"])
            self._first_loss = self._first_loss or self._loss
        if (measured := row.get("validation_loss")) is not None:
            self._measured = [*self._measured[-2:], float(measured)]
        total = self._config.local.total_steps
        return (
            f"all local.total-steps = {total} local steps are done" if total and self._done >= total else ""
        )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint has to keep."""
        return {key: value for key, value in vars(self).items() if key != "_config"}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` returned."""
        vars(self).update(state)

    def _rule(self, server_round: int) -> int:
        local, section = self._config.local, self._config.steps
        if section.rule == "qsr":
            return quadratic_rule(self._rate(server_round), local.steps, section.coefficient)
        if section.rule in ("linear", "doubling"):
            total = local.total_steps
            progress = self._done / total if total else (server_round - 1) / self._config.rounds
            progress = 1 - progress if section.direction == "down" else progress
            return (linear if section.rule == "linear" else doubling)(progress, section.min, section.max)
        if section.rule == "adacomm" and self._first_loss:
            factor = local.learning_rate * batch_factor(local) / max(self._rate(server_round), _LEAST_RATE)
            steps = adacomm(self._loss, self._first_loss, local.steps, factor)
            # Where the rate has not fallen, J falls: by half if the loss does not make it.
            if factor == self._last_factor and steps >= self._current:
                steps = self._current // 2
            self._last_factor = factor
            return steps
        if section.rule == "plateau" and len(self._measured) == 3:
            first, second, third = self._measured
            if first > second > third or first < second < third:
                self._measured = self._measured[-1:]
                return self._current * 2 if third < second else self._current // 2
        return self._current

    def _rate(self, server_round: int) -> float:
        """Return the learning rate with which a round begins, as if there were no warm-up."""
        local = self._config.local
        rate = decayed_rate(local, server_round, self._config.rounds)
        return rate * decay_factor(local, self._done, local.total_steps, local.warmup_steps)

    def _bounded(self, steps: int) -> int:
        return min(max(steps, self._config.steps.min), self._config.steps.max)
