"""A data set in memory: uint8 inputs and int64 labels, shared by all clients of a process."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

# What torch's cross-entropy leaves out by default.
IGNORED_TARGET = -100


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs and their labels, in a fixed order.

    Parameters
    ----------
    inputs : torch.Tensor
        uint8; images ``(samples, channels, height, width)`` or text, ``(samples, length)`` token ids. May be
        backed by a memory-mapped file.
    targets : torch.Tensor
        int64, ``(samples,)``, or for one label per position of a text ``(samples, length)``, where
        `IGNORED_TARGET` marks positions that do not count.
    clients : torch.Tensor or None
        int64, ``(samples,)``: the natural client of every sample, if the data have natural clients.
    classes : torch.Tensor or None
        int64, ``(samples,)``: the class that every label was made from, with ``dataset.binarize``.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    clients: torch.Tensor | None = None
    classes: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str) -> "Split":
        """Return the split on ``device``; nothing is copied when it is there already."""
        clients = None if self.clients is None else self.clients.to(device)
        classes = None if self.classes is None else self.classes.to(device)
        return Split(self.inputs.to(device), self.targets.to(device), clients, classes)

    def subset(self, indices: npt.NDArray[np.int64]) -> "Split":
        """Return a copy of the samples at ``indices``, in that order."""
        index = torch.as_tensor(indices, dtype=torch.int64, device=self.targets.device)
        clients = None if self.clients is None else self.clients.index_select(0, index)
        classes = None if self.classes is None else self.classes.index_select(0, index)
        return Split(
            self.inputs.index_select(0, index), self.targets.index_select(0, index), clients, classes
        )


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
        Per-channel statistics of the canonical training images, scaled to [0, 1]; empty for text.
    client_names : tuple of str
        A name for each natural client, if the data have natural clients.
    remarks : tuple of str
        What a person should know about how the data were read.
    """

    name: str
    train: Split
    validation: Split | None
    test: Split
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    client_names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: ``(channels, height, width)`` of an image, ``(length,)`` of a text."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of one sample's target: ``()`` for a label, ``(length,)`` for one label per position."""
        return tuple(self.train.targets.shape[1:])

    @property
    def is_text(self) -> bool:
        """Whether the inputs are token ids, which are neither normalised nor augmented."""
        return len(self.input_shape) == 1
