"""Local steps in proportion to the progress of the run."""

from typing import Literal

from common.step_rules import Progress, StepRule


class Linear(StepRule):
    """J grows from ``steps.min`` to ``steps.max``; with ``direction = "down"`` it falls in reverse."""

    direction: Literal["up", "down"] = "up"

    def steps(self, progress: Progress) -> int:
        """Return J at this point of the run."""
        share = 1 - progress.share if self.direction == "down" else progress.share
        return linear(share, progress.least, progress.most)


def linear(progress: float, least: int, most: int) -> int:
    """Return J that grows from `least` to `most` in proportion to the progress, from 0 to 1."""
    return round(least + (most - least) * progress)
