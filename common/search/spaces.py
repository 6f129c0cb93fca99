"""The values that a key may take in a search."""

import math
from dataclasses import dataclass

from common.sections import Value


@dataclass(frozen=True)
class Choices:
    """Values that are tried; their order means nothing."""

    values: tuple[Value, ...]

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Values that must all be valid."""
        return self.values

    def grid(self) -> tuple[Value, ...]:
        """Return the values of a grid."""
        return self.values


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes
    ----------
    low, high : int or float
        The ends.
    log : bool
        Whether ratios count, not differences.
    step : int or float
        Only low, low + step, low + 2 step ...; 0 for any number.
    points : int
        How many of them a grid takes; 0 where it takes every step.
    is_whole : bool
        Whether only whole numbers are in it.
    """

    low: float
    high: float
    log: bool = False
    step: float = 0
    points: int = 0
    is_whole: bool = False

    @property
    def extremes(self) -> tuple[Value, ...]:
        """Values that must all be valid."""
        return (self.rounded(self.low), self.rounded(self.high))

    @property
    def num_steps(self) -> int:
        """How many steps there are from low to high."""
        return math.floor((self.high - self.low) / self.step + 1e-9)

    def at(self, part: float) -> Value:
        """Return the number at a part, from 0 to 1, of the way from low to high."""
        if self.step:
            return self.rounded(self.low + min(self.num_steps, int(part * (self.num_steps + 1))) * self.step)
        if self.is_whole and not self.log:
            return int(min(self.high, self.low + math.floor(part * (self.high - self.low + 1))))
        if self.log:
            return self.rounded(self.low * (self.high / self.low) ** part)
        return self.rounded(self.low + part * (self.high - self.low))

    def grid(self) -> tuple[Value, ...]:
        """Return the values of a grid: evenly spread, or every step."""
        if self.step:
            values = [self.rounded(self.low + index * self.step) for index in range(self.num_steps + 1)]
        else:
            parts = [index / (self.points - 1) for index in range(self.points)]
            values = [self.at(part) if self.log or not self.is_whole else self._whole(part) for part in parts]
        return tuple(dict.fromkeys(values))

    def _whole(self, part: float) -> int:
        return round(self.low + part * (self.high - self.low))

    def rounded(self, value: float) -> Value:
        """Return a number as it is written: whole, or with six digits, and never outside."""
        if self.is_whole:
            return int(min(self.high, max(self.low, round(value))))
        return min(float(self.high), max(float(self.low), float(f"{value:.6g}")))


Space = Choices | Range
