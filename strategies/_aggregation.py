"""Aggregation of replies: one float64 accumulator per tensor, whatever the size of the cohort."""

import math
from collections.abc import Mapping
from numbers import Real

import torch
from flwr.app import MetricRecord

from common.errors import UserError, shown
from common.flower import entries
from common.records import Tensors

_ROUNDING = 1e-6
_BLOCK = 2**16  # values converted to float64 at a time: 512 kB, which stay in the cache


class AveragingError(UserError):
    """Weights or shapes of replies cannot be averaged."""


class WeightedAverage:
    """Weighted average of sections that arrive one by one.

    Floating tensors are accumulated as sum of w * x in float64 and divided by the sum of w at the end, so the
    result does not depend on the scale of the weights. Integer tensors (counters of BatchNorm) are averaged
    like everything else and rounded down (``whole``); their dtype is kept. An entry is averaged over the
    replies that have it, since not all do with models of several sizes.
    """

    def __init__(self) -> None:
        self.total_weight = 0.0
        self._sums: Tensors = {}
        self._weights: dict[str, float] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._bases: Tensors = {}  # for integer tensors: the first value; differences from it are added up

    def add(self, section: Mapping[str, torch.Tensor], weight: float) -> None:
        """Add one reply's section with its weight.

        Raises
        ------
        AveragingError
            If the weight is negative or not finite, or an entry has another shape than before.
        """
        self._add_weight(weight)
        for name, value in section.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros(value.shape, dtype=torch.float64)
                self._weights[name] = 0.0
                self._dtypes[name] = value.dtype
                if not value.is_floating_point():
                    self._bases[name] = value.to(torch.int64, copy=True)
            elif value.shape != self._sums[name].shape:
                shape, earlier = tuple(value.shape), tuple(self._sums[name].shape)
                raise AveragingError(
                    f"'{name}' has the shape {shape} for a reply, and {earlier} for an earlier one: what is"
                    " averaged (transform_reply, end_round) has the same for all"
                )
            if name in self._bases:  # large counters are not exact in floating point, their differences are
                value = value.to(torch.int64) - self._bases[name]
            add_to(self._sums[name], value, weight)
            self._weights[name] += weight

    def _add_weight(self, weight: float) -> None:
        if not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise AveragingError(
                f"a reply has the weight {shown(weight)}: what a method or a participation scheme returns as"
                " one must be a finite number, at least 0"
            )
        self.total_weight += weight

    def _check_total(self) -> None:
        if self.total_weight == 0:
            raise AveragingError("no reply has a weight above 0: there is nothing to average")

    def mean(self) -> Tensors:
        """Return the average: floating tensors in float64, integer ones in their dtype.

        Raises
        ------
        AveragingError
            If all weights are zero.
        """
        self._check_total()
        averages = {
            name: total / self._weights[name] for name, total in self._sums.items() if self._weights[name] > 0
        }
        return {
            name: (self._bases[name] + whole(value).long()).to(self._dtypes[name])
            if name in self._bases
            else value
            for name, value in averages.items()
        }

    def cast(self, section: Tensors) -> Tensors:
        """Return `section` in the dtypes of the replies."""
        return {name: value.to(self._dtypes.get(name, value.dtype)) for name, value in section.items()}

    def result(self) -> Tensors:
        """Return the average in the dtypes of the replies; errors as ``mean``."""
        return self.cast(self.mean())


class MetricAverage:
    """Example-weighted average of the scalar metrics of replies, each over the replies that have it."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self.count = 0

    def add(self, record: MetricRecord) -> None:
        """Add the metrics of one reply."""
        values = entries(record)
        weight = float(values["num-examples"])
        for name, value in values.items():
            if isinstance(value, int | float):
                self._sums[name] = self._sums.get(name, 0.0) + weight * value
                self._weights[name] = self._weights.get(name, 0.0) + weight
        self.count += 1

    def result(self) -> MetricRecord | None:
        """Return the means, or None without replies."""
        means: dict[str, int | float | list[int] | list[float]] = {
            name: total / self._weights[name] for name, total in self._sums.items() if self._weights[name] > 0
        }
        return MetricRecord(means) if means else None


def add_to(total: torch.Tensor, value: torch.Tensor, weight: float) -> None:
    """Add weight * value to a contiguous float64 tensor; the bits are those of one addition."""
    if value.dtype == torch.float64 or value.numel() <= _BLOCK:
        total.add_(value, alpha=weight)
        return
    converted = torch.empty(_BLOCK, dtype=torch.float64)
    parts = zip(torch.split(total.view(-1), _BLOCK), torch.split(value.reshape(-1), _BLOCK), strict=True)
    for sums, part in parts:
        sums.add_(converted[: len(part)].copy_(part), alpha=weight)


def whole(mean: torch.Tensor) -> torch.Tensor:
    """Return a mean of counters rounded down, in float64.

    A mean that is an integer up to rounding errors, such as that of equal counters, counts as that integer.
    """
    nearest = mean.round()
    return torch.where((mean - nearest).abs() < _ROUNDING, nearest, mean.floor())
