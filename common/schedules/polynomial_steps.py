"""Polynomial decay by local step."""

from typing import Annotated

from pydantic import Field

from common.schedules import Schedule


class PolynomialSteps(Schedule):
    """(1 - (t - W) / (T - W))^power after a warm-up of W steps (LARS: power 2, LAMB: 1)."""

    power: Annotated[float, Field(gt=0, le=1000)] = 1.0

    def by_step(self, step: int, total_steps: int, warmup_steps: int) -> float:
        """Return the factor of step t of T."""
        if step < warmup_steps:
            return 1.0
        return float((1 - (step - warmup_steps) / (total_steps - warmup_steps)) ** self.power)
