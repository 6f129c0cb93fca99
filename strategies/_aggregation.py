"""Reductions over replies: float64 accumulators, one per tensor, whatever the size of the cohort."""

from collections.abc import Mapping

import torch

from common.records import Tensors


class WeightedAverage:
    """Weighted average of sections that arrive one by one.

    Floating tensors are accumulated as sum of w * x in float64 and divided by the sum of w at the end, so the
    result does not depend on the scale of the weights. Integer tensors (counters of BatchNorm) are those of
    the reply with the largest weight, the first of them on a tie; their dtype is kept. A name is averaged
    over the replies that have it, since with models of several sizes not all do.
    """

    def __init__(self) -> None:
        self.total_weight = 0.0
        self._sums: Tensors = {}
        self._weights: dict[str, float] = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._counters: Tensors = {}

    def add(self, section: Mapping[str, torch.Tensor], weight: float) -> None:
        """Add one reply's section with its weight, at least 0."""
        for name, value in section.items():
            if not value.is_floating_point():
                if name not in self._counters or weight > self._weights[name]:
                    self._counters[name] = value.clone()
                    self._weights[name] = weight
                continue
            if name not in self._sums:
                self._sums[name] = torch.zeros(value.shape, dtype=torch.float64)
                self._weights[name] = 0.0
                self._dtypes[name] = value.dtype
            self._sums[name].add_(value, alpha=weight)
            self._weights[name] += weight
        self.total_weight += weight

    def mean(self) -> Tensors:
        """Return the average: floating tensors in float64, integer ones as they are.

        Raises
        ------
        ValueError
            If all weights are zero.
        """
        if self.total_weight == 0:
            raise ValueError("no reply has a weight above 0: there is nothing to average")
        averages = {
            name: total / self._weights[name] for name, total in self._sums.items() if self._weights[name] > 0
        }
        return averages | self._counters

    def cast(self, section: Tensors) -> Tensors:
        """Return `section` in the dtypes of the replies."""
        return {name: value.to(self._dtypes.get(name, value.dtype)) for name, value in section.items()}

    def result(self) -> Tensors:
        """Return the average in the dtypes of the replies; errors as ``mean``."""
        return self.cast(self.mean())
