"""Averages over the clients that hold an entry, for sub-models of several sizes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from common.records import Tensors
from models.sizes.submodels import EntrySelection, Indices, mesh
from strategies._aggregation import WeightedAverage, add_to


class HolderAverage(WeightedAverage):
    """Weighted average, element by element, over the replies that have the element.

    Sums are kept in float64, one tensor per entry of the server's model. Entries that are sent in part have a
    second tensor for the weights, of size 1 along a dimension whose weights are all the same. Counters are
    averaged like everything else.

    Parameters
    ----------
    reference : Mapping[str, Tensor]
        The server's entries: their shapes and dtypes, and the values of elements that no client sends.
    keeps : bool, default True
        Whether elements that no client sends keep the reference's values in the mean, instead of 0.
    """

    def __init__(self, reference: Mapping[str, Tensor], keeps: bool = True) -> None:
        super().__init__()
        self._reference = reference
        self._keeps = keeps
        self._parts: Tensors = {}  # weights of entries that are sent in part

    def add(self, section: Mapping[str, Tensor], weight: float, held: EntrySelection | None = None) -> None:
        """Add one reply's section; `held` says which part of the server's entries it is (None: all).

        Raises
        ------
        AveragingError
            If the weight is negative or not finite.
        """
        self._add_weight(weight)
        for name, value in section.items():
            indices = () if held is None else held.indices[name]
            if name not in self._sums:
                self._sums[name] = torch.zeros(self._reference[name].shape, dtype=torch.float64)
                self._weights[name] = 0.0
            if not indices and name not in self._parts:
                add_to(self._sums[name], value, weight)
                self._weights[name] += weight
            else:
                self._add_part(name, value, weight, indices)

    def mean(self) -> Tensors:
        """Return the averages in float64 of the entries that some client sent.

        Raises
        ------
        AveragingError
            If all weights are zero.
        """
        self._check_total()
        averages = {}
        for name, total in self._sums.items():
            if name in self._parts:
                weights, old = self._parts[name], self._reference[name].double() * self._keeps
                averages[name] = torch.where(weights > 0, total / weights, old)
            elif self._weights[name] > 0:
                averages[name] = total / self._weights[name]
        return averages

    def sums(self) -> Tensors:
        """Return the weighted sums in float64 of the entries that some client sent."""
        return dict(self._sums)

    def weight(self, name: str) -> Tensor:
        """Return the sum of the weights of an entry, of a shape that broadcasts to the entry's."""
        return self._parts.get(name, torch.tensor(self._weights[name], dtype=torch.float64))

    def held(self) -> Tensors:
        """Return a bool mask of the elements sent, for each entry that no client sent as a whole."""
        return {
            name: (weights > 0).expand(self._reference[name].shape) for name, weights in self._parts.items()
        }

    def cast(self, section: Tensors) -> Tensors:
        """Return `section` in the dtypes of the server's entries."""
        return {name: value.to(self._reference[name].dtype) for name, value in section.items()}

    def _add_part(self, name: str, value: Tensor, weight: float, indices: Indices) -> None:
        shape = self._reference[name].shape
        if name not in self._parts or _is_coarser(self._parts[name].shape, indices):
            old = self._parts.get(name, torch.tensor(self._weights.get(name, 0.0), dtype=torch.float64))
            kept = [1] * len(shape) if name not in self._parts else list(self._parts[name].shape)
            wanted = [
                shape[d] if d < len(indices) and indices[d] is not None else kept[d]
                for d in range(len(shape))
            ]
            self._parts[name] = old.expand(wanted).clone()
        weights = self._parts[name]
        if not indices:
            add_to(self._sums[name], value, weight)
            weights.add_(weight)
            return
        key = mesh(indices)
        self._sums[name][key] = self._sums[name][key].add_(value, alpha=weight)
        weights[key] += weight


def _is_coarser(shape: torch.Size, indices: Indices) -> bool:
    """Return whether a tensor of weights has size 1 along a dimension of which only a part is sent."""
    return any(index is not None and shape[d] == 1 for d, index in enumerate(indices))
