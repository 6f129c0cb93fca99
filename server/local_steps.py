"""Numbers of local steps decided round by round (``steps.*``), within ``local.total-steps``."""

from collections.abc import Mapping
from typing import Any

from common.config import Config
from common.errors import UserError, shown
from common.randomness import numpy_generator
from common.rates import base_rate, decayed_rate
from common.schedules import schedule_of
from common.step_rules import Progress, step_rule


class LocalSteps:
    """Decides how many local steps the clients of each round take.

    Parameters
    ----------
    config : Config
        The run's configuration: ``steps.*``, ``local.steps`` (the initial number), and their total.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._rule = step_rule(config.steps)
        self._current = config.local.steps
        self._done = 0
        self._first_loss = 0.0
        self._loss = 0.0

    @property
    def is_fixed(self) -> bool:
        """Whether every round has the budget that ``local.*`` says."""
        return not self._rule.decides

    @property
    def done(self) -> int:
        """Local steps so far of a client that took part in every round."""
        return self._done

    def decide(self, server_round: int) -> int | None:
        """Return the local steps of a round; None leaves them to ``local.*``."""
        if self.is_fixed:
            return None
        section = self._config.steps
        if (server_round - 1) % section.interval == 0:
            steps = self._rule.steps(self._progress(server_round))
            if not isinstance(steps, int):
                raise UserError(f"steps.rule '{section.rule}' must return whole numbers, not {shown(steps)}")
            self._current = self._bounded(steps)
        total = self._config.local.total_steps
        return min(self._current, total - self._done) if total else self._current

    def observe(self, num_steps: int | None, row: Mapping[str, Any]) -> str:
        """Record a round's steps and results; return why the run ends here, if it does."""
        if num_steps is None:
            return ""
        if row["train_loss"] is not None:  # somebody has trained
            self._done += num_steps
            self._loss = float(row["train_loss"])
            self._first_loss = self._first_loss or self._loss
        self._rule.observe(row)
        total = self._config.local.total_steps
        return (
            f"all local.total-steps = {total} local steps are done" if total and self._done >= total else ""
        )

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        own = {key: value for key, value in vars(self).items() if key not in ("_config", "_rule")}
        kept = {key: value for key, value in vars(self._rule).items() if key.startswith("_")}
        return {**own, "rule": kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        vars(self._rule).update(state.get("rule", {}))
        vars(self).update({key: value for key, value in state.items() if key != "rule"})

    def _progress(self, server_round: int) -> Progress:
        config, section = self._config, self._config.steps
        total = config.local.total_steps
        return Progress(
            server_round=server_round,
            share=self._done / total if total else (server_round - 1) / config.rounds,
            base_steps=config.local.steps,
            steps=self._current,
            least=section.min,
            most=section.max,
            base_rate=base_rate(config),
            rate=self._rate(server_round),
            first_loss=self._first_loss,
            loss=self._loss,
            generator=numpy_generator(config.seed, "step-rule", server_round),
        )

    def _rate(self, server_round: int) -> float:
        """Return the learning rate at the start of a round, ignoring the warm-up."""
        config = self._config
        by_step = schedule_of(config.schedule).by_step(
            self._done, config.local.total_steps, config.schedule.warmup_steps
        )
        return decayed_rate(config, server_round) * by_step

    def _bounded(self, steps: int) -> int:
        return min(max(steps, self._config.steps.min), self._config.steps.max)
