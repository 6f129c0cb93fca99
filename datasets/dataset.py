"""A data set in memory: uint8 images and int64 labels, shared by all clients of a process."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, in a fixed order.

    Parameters
    ----------
    inputs : torch.Tensor
        uint8, ``(samples, channels, height, width)``. May be backed by a memory-mapped file.
    targets : torch.Tensor
        int64, ``(samples,)``.
    """

    inputs: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str) -> "Split":
        """Return the split on ``device``; nothing is copied when it is there already."""
        return Split(self.inputs.to(device), self.targets.to(device))

    def subset(self, indices: npt.NDArray[np.int64]) -> "Split":
        """Return a copy of the samples at ``indices``, in that order."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.targets.device)
        return Split(self.inputs.index_select(0, index), self.targets.index_select(0, index))


@dataclass(frozen=True, eq=False)
class Dataset:
    """The splits of a data set and what is known about its labels and pixels.

    Parameters
    ----------
    name : str
        The name it was loaded by.
    train, test : Split
        The canonical training set, less ``validation``, and the canonical test set.
    validation : Split or None
        The part held out of the training set, if any.
    num_classes : int
        Number of labels; targets lie in ``range(num_classes)``.
    class_names : tuple of str
        A name for each label.
    mean, std : tuple of float
        Per-channel statistics of the canonical training images, scaled to [0, 1].
    """

    name: str
    train: Split
    validation: Split | None
    test: Split
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image: ``(channels, height, width)``."""
        return tuple(self.train.inputs.shape[1:])
