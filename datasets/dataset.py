"""A data set in memory, shared by all clients of a process."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from datasets.tables import Encoder

Kind = Literal["images", "features", "tokens"]
# The default ``ignore_index`` of torch's cross-entropy.
IGNORED_TARGET = -100


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs and their labels, in a fixed order.

    Parameters
    ----------
    inputs : torch.Tensor
        Images, uint8 ``(samples, channels, height, width)``, which may be backed by a memory-mapped file;
        features, float32 ``(samples, ...)``; or text, token ids ``(samples, length)``.
    targets : torch.Tensor
        int64, ``(samples,)``, or with one label per position of a text ``(samples, length)``, where
        `IGNORED_TARGET` marks positions that do not count. For regression float32, ``(samples,)`` or
        ``(samples, numbers)``.
    clients : torch.Tensor or None
        int64, ``(samples,)``: the natural client of every sample, if the data have natural clients.
    classes : torch.Tensor or None
        int64, ``(samples,)``: the class from which each label was derived, with ``dataset.binarize``.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    clients: torch.Tensor | None = None
    classes: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return a class for every sample: the same for all if there are no classes."""
        if self.targets.ndim == 1 and not self.targets.is_floating_point():
            return self.targets.numpy()
        return np.zeros(len(self), dtype=np.int64)

    def to(self, device: torch.device | str) -> "Split":
        """Return the split on ``device``, without a copy if it is there already."""
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
    """The splits of a data set, and metadata on its labels and inputs.

    Parameters
    ----------
    name : str
        The name it was loaded by.
    train, test : Split
        The canonical training set, less ``validation``, and the canonical test set.
    validation : Split or None
        The part held out of the training set, if any.
    num_classes : int
        Number of classes; targets lie in ``range(num_classes)``. 0: a regression.
    class_names : tuple of str
        A name for each label.
    mean, std : tuple of float
        Per-channel statistics of the canonical training images, scaled to [0, 1]; otherwise empty.
    client_names : tuple of str
        A name for each natural client, if the data have natural clients.
    remarks : tuple of str
        Notes for the user on how the data were read.
    kind : {"images", "features", "tokens"}
        Kind of the inputs: images are normalised when they are used, features when they are loaded, token
        ids never.
    feature_mean, feature_std : torch.Tensor or None
        float64: the statistics by which the features were standardised, broadcastable to a sample.
    encoder : Encoder or None
        The encoding of a table's columns as inputs.
    num_tokens : int
        Vocabulary size for tokens whose targets are classes. 0: targets are tokens of the same vocabulary.
    vocabulary : tuple of str
        The words that tokens stand for, in order, if they were chosen from the data.
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
    kind: Kind = "images"
    feature_mean: torch.Tensor | None = None
    feature_std: torch.Tensor | None = None
    encoder: Encoder | None = None
    num_tokens: int = 0
    vocabulary: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: ``(channels, height, width)`` of an image, ``(length,)`` of a text."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of one sample's labels: ``(length,)`` for one per position, else (and for numbers) ``()``."""
        return () if self.is_regression else tuple(self.train.targets.shape[1:])

    @property
    def is_regression(self) -> bool:
        """Whether the targets are numbers."""
        return self.train.targets.is_floating_point()

    @property
    def num_outputs(self) -> int:
        """Number of model outputs: the classes, or the numbers per target."""
        return self.num_classes or math.prod(self.train.targets.shape[1:])

    @property
    def model_arguments(self) -> tuple[tuple[int, ...], int, tuple[int, ...], bool, int]:
        """Return the arguments that determine a model's shape, in the order of ``build_configured_model``."""
        return self.input_shape, self.num_outputs, self.target_shape, self.is_text, self.num_tokens

    @property
    def is_text(self) -> bool:
        """Whether the inputs are token ids."""
        return self.kind == "tokens"
