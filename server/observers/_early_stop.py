"""Early stopping."""

import math
from collections.abc import Mapping
from typing import Any

from common.sections import lower_is_better
from server.observers._observer import Observer, Round
from server.parts import Parts


class EarlyStop(Observer):
    """Stops after ``stop.patience`` evaluations without improvement, or when ``stop.target`` is reached.

    0 switches patience or target off.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._stop = parts.config.stop
        self._sign = -1.0 if lower_is_better(self._stop.metric) else 1.0
        self.best: float | None = None
        self.evaluations_since_best = 0

    def stop_reason(self, current: Round) -> str:
        """Return why to stop, or nothing. Rounds without the metric do not count."""
        value = current.row.get(self._stop.metric)
        if value is None:
            return ""
        if not math.isnan(value) and (self.best is None or self._sign * value > self._sign * self.best):
            self.best = value
            self.evaluations_since_best = 0
        else:
            self.evaluations_since_best += 1
        if self._stop.target and self._sign * value >= self._sign * self._stop.target:
            return f"{self._stop.metric} reached {value:.4f} (stop.target = {self._stop.target})"
        if self._stop.patience and self.evaluations_since_best >= self._stop.patience:
            return (
                f"{self._stop.metric} has not improved for {self._stop.patience} evaluations (stop.patience)"
            )
        return ""

    def state(self) -> dict[str, Any]:
        """Return the best value, and the number of evaluations since."""
        return {"best": self.best, "evaluations_since_best": self.evaluations_since_best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.best, self.evaluations_since_best = state["best"], state["evaluations_since_best"]
