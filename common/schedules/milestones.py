"""Decay at given fractions of the run."""

import math
from typing import Annotated

from pydantic import Field

from common.errors import UserError
from common.schedules import Schedule


class Milestones(Schedule):
    """Multiplies by ``gamma`` after floor(f T) of T rounds for each fraction f of ``milestones``."""

    gamma: Annotated[float, Field(gt=0, le=1000)] = 0.1
    milestones: str = "0.5,0.75"

    def check(self) -> None:
        """Refuse values that are not fractions."""
        fractions(self.milestones)

    def by_round(self, elapsed: int, num_rounds: int) -> float:
        """Return the factor after t of T rounds."""
        passed = sum(elapsed >= math.floor(f * num_rounds + 1e-9) for f in fractions(self.milestones))
        return self.gamma**passed


def fractions(text: str) -> list[float]:
    """Parse ``0.5,0.75``: fractions of a run, between 0 and 1.

    Raises
    ------
    UserError
        If the text is not such a list.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < 1 for value in values):
        raise UserError(f"schedule.milestones must be fractions of the run such as '0.5,0.75', not '{text}'")
    return sorted(values)
