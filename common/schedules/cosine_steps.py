"""Cosine annealing by local step."""

import math

from common.schedules import Schedule


class CosineSteps(Schedule):
    """(1 + cos(pi t / T)) / 2 with t and T in local steps."""

    def by_step(self, step: int, total_steps: int, warmup_steps: int) -> float:
        """Return the factor of step t of T."""
        return (1 + math.cos(math.pi * step / total_steps)) / 2
