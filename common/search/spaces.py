"""The values that a key may take in a search."""

import math
from dataclasses import dataclass

from common.sections import Value


@dataclass(frozen=True)
class Choices:
    """A list of values whose order has no meaning."""

    values: tuple[Value, ...]

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values to validate: all of them."""
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
        Whether the scale is logarithmic.
    step : int or float
        If above 0, only low, low + step, low + 2 step, ... are in the range.
    points : int
        Number of values in a grid; 0 if it takes every step.
    is_whole : bool
        Whether only integers are in the range.
    """

    low: float
    high: float
    log: bool = False
    step: float = 0
    points: int = 0
    is_whole: bool = False

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values to validate: both ends."""
        return (self.rounded(self.low), self.rounded(self.high))

    @property
    def num_steps(self) -> int:
        """Number of steps from low to high."""
        return math.floor((self.high - self.low) / self.step + 1e-9)

    def at(self, part: float) -> Value:
        """Return the value at the fraction `part`, from 0 to 1, of the way from low to high."""
        if self.step:
            return self.rounded(self.low + min(self.num_steps, int(part * (self.num_steps + 1))) * self.step)
        if self.is_whole and not self.log:
            return int(min(self.high, self.low + math.floor(part * (self.high - self.low + 1))))
        if self.log:
            return self.rounded(self.low * (self.high / self.low) ** part)
        return self.rounded(self.low + part * (self.high - self.low))

    def grid(self) -> tuple[Value, ...]:
        """Return the values of a grid: evenly spaced, or every step."""
        if self.step:
            values = [self.rounded(self.low + index * self.step) for index in range(self.num_steps + 1)]
        else:
            parts = [index / (self.points - 1) for index in range(self.points)]
            values = [self.at(part) if self.log or not self.is_whole else self._whole(part) for part in parts]
        return tuple(dict.fromkeys(values))

    def _whole(self, part: float) -> int:
        return round(self.low + part * (self.high - self.low))

    def rounded(self, value: float) -> Value:
        """Return a value rounded to an integer or to six significant digits, within the range."""
        if self.is_whole:
            return int(min(self.high, max(self.low, round(value))))
        return min(float(self.high), max(float(self.low), float(f"{value:.6g}")))


Space = Choices | Range
