"""Cosine annealing by round."""

import math

from common.schedules import Schedule


class Cosine(Schedule):
    """(1 + cos(pi t / T)) / 2 (Loshchilov and Hutter 2017, Eq. 5, one period down to zero)."""

    def by_round(self, elapsed: int, num_rounds: int) -> float:
        """Return the factor after t of T rounds."""
        return (1 + math.cos(math.pi * elapsed / num_rounds)) / 2
