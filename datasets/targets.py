"""Targets of any type, encoded as class indices or as numbers (regression)."""

from dataclasses import dataclass

import numpy as np
import torch

from common.errors import UserError
from datasets.dataset import IGNORED_TARGET

# Integers up to this one are class indices, gaps included, so that all nodes number the classes alike.
_MAX_NUMBERED = 10_000


@dataclass(frozen=True)
class Targets:
    """How the targets of a data set are encoded.

    Attributes
    ----------
    name : str
        The data set, for messages.
    class_names : tuple of str
        Empty for a regression.
    are_numbers : bool
        Whether the task is a regression.
    are_indices : bool
        Whether the targets are class indices; otherwise they are class names.
    """

    name: str
    class_names: tuple[str, ...]
    are_numbers: bool
    are_indices: bool

    @classmethod
    def of(
        cls,
        train: np.ndarray,
        name: str,
        class_names: tuple[str, ...],
        numbers: bool | None,
        per_position: bool,
    ) -> "Targets":
        """Determine how to encode the training targets.

        Parameters
        ----------
        train : numpy.ndarray
            Of any type.
        class_names : tuple of str
            As the author provides them; may be empty.
        numbers : bool or None
            Whether the loss is for regression; None: it may be for either.
        per_position : bool
            Whether there may be one target per position of a text.

        Raises
        ------
        UserError
            If the targets do not suit the loss.
        """
        are_texts = train.dtype.kind not in "biuf"
        if numbers and (are_texts or class_names):
            raise UserError(
                f"the targets of dataset '{name}' are classes, and the loss is for numbers: use another loss,"
                " such as 'cross-entropy'"
            )
        is_whole = not are_texts and bool(np.all(np.isfinite(train)) and np.all(train == np.round(train)))
        is_float = train.dtype.kind == "f" and not class_names and (numbers is None or not is_whole)
        if numbers or is_float:
            return cls._numbers(train, name, numbers)
        if train.ndim > 1 and not per_position and train.size != len(train):
            raise UserError(
                f"dataset '{name}': classes are one per sample, not an array of shape {train.shape}"
            )
        if class_names:
            return cls(name, class_names, False, not are_texts)
        if not are_texts and not is_whole:
            raise UserError(f"dataset '{name}': a target is missing or not finite")
        counted = train[train != IGNORED_TARGET] if per_position and not are_texts else train
        if not counted.size:
            raise UserError(f"dataset '{name}': no target counts")
        if not are_texts and counted.min() >= 0 and counted.max() < _MAX_NUMBERED:
            return cls(name, tuple(map(str, range(int(counted.max()) + 1))), False, True)
        return cls(name, tuple(_sorted_names(counted)), False, False)

    @classmethod
    def _numbers(cls, train: np.ndarray, name: str, numbers: bool | None) -> "Targets":
        if numbers is False:
            raise UserError(
                f"the targets of dataset '{name}' are numbers, and the loss is for classes: use a loss such"
                " as 'mse'"
            )
        if train.ndim > 2:
            raise UserError(f"dataset '{name}': numbers to predict are (samples,) or (samples, numbers)")
        return cls(name, (), True, False)

    def remark(self, train: torch.Tensor) -> str:
        """Return a note on numbers below the largest class without a training sample; may be empty."""
        if not self.are_indices or train.ndim > 1:
            return ""
        counts = torch.bincount(train)
        if not (lacking := (counts == 0).nonzero().flatten().tolist()):
            return ""
        return (
            f"the training set has no sample of {len(lacking)} of the {len(counts)} classes, such as"
            f" {lacking[0]}: targets that are whole numbers number the classes from 0"
        )

    def coded(self, values: np.ndarray, part: str) -> torch.Tensor:
        """Return the targets of a part: int64 classes or float32 numbers.

        Raises
        ------
        UserError
            If a class is unknown or a number is missing.
        """
        where = f"dataset '{self.name}', {part}"
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if self.are_numbers:
            if values.dtype.kind not in "biuf":
                raise UserError(f"{where}: targets must be numbers, not {values.dtype}")
            if not np.all(np.isfinite(values)):
                first = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
                raise UserError(f"{where}: the target of sample {first} is missing or not finite")
            return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        if self.are_indices:
            return self._indices(values, where)
        number = {name: index for index, name in enumerate(self.class_names)}
        names = [_name(value) for value in values]
        if strange := sorted(set(names) - set(number)):
            raise UserError(f"{where} has the class '{strange[0]}', of which the training set has no sample")
        return torch.tensor([number[name] for name in names], dtype=torch.int64)

    def _indices(self, values: np.ndarray, where: str) -> torch.Tensor:
        if values.dtype.kind not in "biuf" or not np.all(values == np.round(values)):
            raise UserError(f"{where}: targets must number the classes")
        coded = torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
        is_class = (coded >= 0) & (coded < len(self.class_names))
        if coded.ndim > 1:
            is_class |= coded == IGNORED_TARGET
        if not bool(is_class.all()):
            wrong = int(coded[~is_class][0])
            raise UserError(f"{where}: {wrong} is not a class: they go from 0 to {len(self.class_names) - 1}")
        return coded


def _sorted_names(values: np.ndarray) -> list[str]:
    if values.dtype.kind in "biuf":
        return [_name(value) for value in np.unique(values)]
    return sorted({_name(value) for value in values})


def _name(value: object) -> str:
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value)  # type: ignore[call-overload]
