"""Halve the local steps while the clients' models drift apart."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from common.step_rules import Progress, StepRule


class Drift(StepRule):
    """Halves J if the mean drift since the last decision is above ``threshold``.

    The drift of a round is mean_k ||y_k - x||^2 / ||mean_k y_k - x||^2: 1 if all clients make the same
    update, K if their updates are orthogonal (``server/observers/drift.py``).
    """

    needs_observers: ClassVar[tuple[str, ...]] = ("drift",)
    follows_clients = True
    depends_on_length = False

    threshold: Annotated[float, Field(ge=1)] = 2.0

    def __init__(self) -> None:
        self._measured: list[float] = []

    def steps(self, progress: Progress) -> int:
        """Return half the steps, or the same number."""
        measured, self._measured = self._measured, []
        has_drifted = bool(measured) and sum(measured) / len(measured) > self.threshold
        return progress.steps // 2 if has_drifted else progress.steps

    def observe(self, row: Mapping[str, Any]) -> None:
        """Keep the drift of a round, if it has one."""
        if (drift := row.get("drift")) is not None:
            self._measured = [*self._measured, float(drift)]
