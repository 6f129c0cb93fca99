"""Sub-models: models whose entries are entries of a larger one, or slices of them.

A server model that has sub-models derives from `Splittable`. Clients of several sizes then train parts of one
model: fewer blocks (Chan et al., ICLR 2024, "stage splitting" and "layer splitting") or narrower layers
(HeteroFL: Diao, Ding and Tarokh, ICLR 2021).
"""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.errors import UserError
from models.classifier import Classifier

Indices = tuple[Tensor | None, ...]
"""The indices taken along each dimension; None is a whole dimension, and ``()`` the whole tensor."""

Window = Callable[[int, int], Tensor | None]
"""Chooses k of n channels: (n, k) → int64 indices of shape (k,), or None for all of them in their order."""


class Splittable(Classifier):
    """A model that can be split into sub-models, each named by its *size*."""

    @abstractmethod
    def size_name(self, text: str) -> str:
        """Return the name of the size that a user means by `text`.

        Raises
        ------
        UserError
            If the model has no such size.
        """

    @abstractmethod
    def submodel(self, size: str) -> Classifier:
        """Return a new model of a size, with this model's weights and names of entries."""

    def width_dimensions(self) -> Mapping[str, tuple[int, ...]]:
        """Return, for each entry that narrower sub-models slice, the dimensions that run over channels."""
        return {}


def leading(n: int, k: int) -> Tensor | None:
    """Choose the first k of n channels: the window of HeteroFL."""
    return None if n == k else torch.arange(k)


@dataclass(frozen=True)
class EntrySelection:
    """The slices of a server model's entries that a sub-model holds.

    Attributes
    ----------
    indices : Mapping[str, Indices]
        For each entry of the sub-model its indices in the server's tensor, in the sub-model's order.
    """

    indices: Mapping[str, Indices]

    def take(self, section: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sub-model's part of a section of the server's; whole tensors are not copied."""
        return {
            name: take(value, self.indices[name]) for name, value in section.items() if name in self.indices
        }


def take(value: Tensor, indices: Indices) -> Tensor:
    """Return the part of a tensor that indices select."""
    return value[mesh(indices)] if any(index is not None for index in indices) else value


def mesh(indices: Indices) -> tuple[Tensor | slice, ...]:
    """Return the key with which to index a tensor to read or write the part that indices select."""
    partial = [dimension for dimension, index in enumerate(indices) if index is not None]
    key: list[Tensor | slice] = []
    for index in indices:
        if index is None:
            key.append(slice(None))
        else:
            shape = [1] * len(partial)
            shape[sum(isinstance(part, Tensor) for part in key)] = len(index)
            key.append(index.view(shape))
    if partial and partial != list(range(partial[0], partial[-1] + 1)):
        raise ValueError("a part of a tensor is selected by indices along adjacent dimensions")
    return tuple(key)


class SubModels:
    """The sub-models of a run by size, as selections of the server model's entries.

    Parameters
    ----------
    model : nn.Module
        The server model; it is not kept.
    sizes : iterable of str
        Names of the sizes; duplicates count once.
    made : Mapping[str, nn.Module], optional
        Sub-models by size, if the caller has them: making one takes longer than building a model.
    """

    def __init__(
        self, model: nn.Module, sizes: Iterable[str], made: Mapping[str, nn.Module] | None = None
    ) -> None:
        splittable = as_splittable(model)
        self.sizes = tuple(dict.fromkeys(sizes))
        self._widths = dict(splittable.width_dimensions())
        self._full = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        self._shapes = {
            size: {
                name: tuple(value.shape)
                for name, value in (made[size] if made else splittable.submodel(size)).state_dict().items()
            }
            for size in self.sizes
        }

    def selection(self, size: str, window: Window = leading) -> EntrySelection:
        """Return the entries of a size, with the channels of narrower layers chosen by `window`.

        Raises
        ------
        ValueError
            If the sub-model has an entry that the server's lacks, or differs in a dimension that does not
            run over channels.
        """
        return EntrySelection(
            {name: self._indices(name, shape, window) for name, shape in self._shapes[size].items()}
        )

    def names(self, size: str) -> frozenset[str]:
        """Return the names of the entries of a size."""
        return frozenset(self._shapes[size])

    def is_whole(self, size: str) -> bool:
        """Return whether a size is the whole server model."""
        return self._shapes[size] == self._full

    def missing(self) -> list[str]:
        """Return the entries of the server model that no size holds."""
        return [name for name in self._full if not any(name in shapes for shapes in self._shapes.values())]

    def num_values(self, size: str) -> int:
        """Count the values of a size's entries."""
        return sum(torch.Size(shape).numel() for shape in self._shapes[size].values())

    def _indices(self, name: str, shape: tuple[int, ...], window: Window) -> Indices:
        full, widths = self._full.get(name), self._widths.get(name, ())
        if full is None or len(full) != len(shape):
            raise ValueError(f"the server model has no '{name}' of {len(shape)} dimensions")
        for dimension, (n, k) in enumerate(zip(full, shape, strict=True)):
            if k != n and (dimension not in widths or k > n):
                raise ValueError(f"'{name}' of shape {shape} is not part of the server model's {full}")
        indices = tuple(
            window(n, k) if dimension in widths else None
            for dimension, (n, k) in enumerate(zip(full, shape, strict=True))
        )
        return indices if any(index is not None for index in indices) else ()


def as_splittable(model: nn.Module) -> Splittable:
    """Return `model` itself.

    Raises
    ------
    UserError
        If it has no sub-models.
    """
    if not isinstance(model, Splittable):
        raise UserError(
            "model.sizes: this model cannot be cut into sub-models; 'stage-resnet' and 'vit-small' can"
        )
    return model


def parse_sizes(model: nn.Module, text: str) -> tuple[str, ...]:
    """Return the names of the sizes in ``model.sizes``, separated by commas; duplicates are kept.

    Raises
    ------
    UserError
        If the model cannot be split, or has no such size.
    """
    splittable = as_splittable(model)
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UserError(f"model.sizes = '{text}' has an empty entry: separate the sizes by single commas")
    return tuple(splittable.size_name(part) for part in parts)


def keep_blocks(model: Classifier, blocks: Mapping[str, int]) -> Classifier:
    """Return a copy of a model with only the first blocks of some of its ``nn.Sequential`` modules.

    Parameters
    ----------
    model : Classifier
        The model.
    blocks : Mapping[str, int]
        Name of a module → number of its blocks to keep.
    """
    dropped = [
        block
        for name, count in blocks.items()
        for block in list(model.get_submodule(name).children())[count:]
    ]
    # Dropped blocks are not copied: that would take most of the time.
    smaller = copy.deepcopy(model, {id(block): nn.Identity() for block in dropped})
    for name, count in blocks.items():
        sequence = smaller.get_submodule(name)
        del sequence[count:]  # type: ignore[operator]
    return smaller
