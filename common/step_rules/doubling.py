"""Local steps that double."""

import math
from typing import Literal

from common.step_rules import ROUNDING, Progress, StepRule


class Doubling(StepRule):
    """J doubles from ``steps.min`` up to ``steps.max``; with ``direction = "down"`` it halves in reverse."""

    direction: Literal["up", "down"] = "up"

    def steps(self, progress: Progress) -> int:
        """Return J at this point of the run."""
        share = 1 - progress.share if self.direction == "down" else progress.share
        return doubling(share, progress.least, progress.most)


def doubling(progress: float, least: int, most: int) -> int:
    """Return J that doubles from `least` to `most`, each value for an equal share of the run."""
    num_values = 1 + math.floor(math.log2(most / least) + ROUNDING)
    return int(least * 2 ** min(num_values - 1, math.floor(progress * num_values)))
