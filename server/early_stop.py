"""When to stop before the last round."""

import math

from common.sections import StopSection


class EarlyStop:
    """Stops after ``stop.patience`` evaluations without improvement, or when ``stop.target`` is reached.

    Parameters
    ----------
    stop : StopSection
        The keys ``stop.*``; 0 switches patience or target off.
    """

    def __init__(self, stop: StopSection) -> None:
        self._stop = stop
        self._sign = -1.0 if stop.metric.endswith("loss") else 1.0
        self.best: float | None = None
        self.evaluations_since_best = 0

    def reason(self, row: dict[str, float]) -> str:
        """Take in a row of metrics; return why to stop, or nothing. Rows without the metric do not count."""
        value = row.get(self._stop.metric)
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
