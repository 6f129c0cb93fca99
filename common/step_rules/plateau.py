"""Double the local steps while the validation loss falls, halve them while it rises."""

from collections.abc import Mapping
from typing import Any

from common.step_rules import Progress, StepRule


class Plateau(StepRule):
    """Doubles J after two falls of the validation loss in a row, halves it after two rises."""

    needs_validation = True
    depends_on_length = False

    def __init__(self) -> None:
        self._measured: list[float] = []

    def steps(self, progress: Progress) -> int:
        """Return twice the steps, half of them, or the same number."""
        if len(self._measured) == 3:
            first, second, third = self._measured
            if first > second > third or first < second < third:
                self._measured = self._measured[-1:]
                return progress.steps * 2 if third < second else progress.steps // 2
        return progress.steps

    def observe(self, row: Mapping[str, Any]) -> None:
        """Keep the last three validation losses."""
        if (measured := row.get("validation_loss")) is not None:
            self._measured = [*self._measured[-2:], float(measured)]
