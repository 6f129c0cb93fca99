"""The quadratic synchronisation rule: more local steps as the rate falls."""

import math
from typing import Annotated

from pydantic import Field

from common.sections import Value
from common.step_rules import MAX_STEPS, ROUNDING, Progress, StepRule


class QSR(StepRule):
    """J = max(J_base, floor((a / lr)^2)) with a = ``coefficient`` (Gu et al. 2024)."""

    looks_at_rate = True
    depends_on_length = False

    coefficient: Annotated[float, Field(gt=0)] = 0.2

    def steps(self, progress: Progress) -> int:
        """Return J for the rate of the round."""
        return quadratic_rule(progress.rate, progress.base_steps, self.coefficient)

    def for_pooled_clients(self, count: int) -> dict[str, Value]:
        """Return the coefficient for `count` times the steps, which grow with its square."""
        return {"coefficient": math.sqrt(count) * self.coefficient}


def quadratic_rule(rate: float, base_steps: int, coefficient: float) -> int:
    """Return max(J_base, floor((a / lr)^2))."""
    ratio = coefficient / rate if rate > 0 else math.inf
    return max(base_steps, math.floor(min(ratio, math.sqrt(MAX_STEPS)) ** 2 + ROUNDING))
