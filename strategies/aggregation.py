"""Reductions over replies: float64 accumulators, one per tensor, whatever the size of the cohort."""

from collections.abc import Mapping

import torch

from common.records import Section


class WeightedAverage:
    """Weighted average of sections that arrive one by one.

    Floating tensors are accumulated as sum of w * x in float64 and divided by the sum of w at the end, so the
    result does not depend on the scale of the weights. Integer tensors (counters of BatchNorm) are those of
    the reply with the largest weight, the first of them on a tie; their dtype is kept.
    """

    def __init__(self) -> None:
        self.total_weight = 0.0
        self._sums: Section = {}
        self._dtypes: dict[str, torch.dtype] = {}
        self._counters: Section = {}
        self._largest_weight = -1.0

    def add(self, section: Mapping[str, torch.Tensor], weight: float) -> None:
        """Add one reply's section with its weight, at least 0."""
        for name, value in section.items():
            if not value.is_floating_point():
                if weight > self._largest_weight:
                    self._counters[name] = value.clone()
                continue
            if name not in self._sums:
                self._sums[name] = torch.zeros(value.shape, dtype=torch.float64)
                self._dtypes[name] = value.dtype
            self._sums[name].add_(value, alpha=weight)
        self.total_weight += weight
        self._largest_weight = max(self._largest_weight, weight)

    def result(self) -> Section:
        """Return the average in the dtypes of the replies.

        Raises
        ------
        ValueError
            If all weights are zero.
        """
        if self.total_weight == 0:
            raise ValueError("no reply has a weight above 0: there is nothing to average")
        averages = {
            name: (total / self.total_weight).to(self._dtypes[name]) for name, total in self._sums.items()
        }
        return averages | self._counters
