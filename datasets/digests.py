"""Short digests by which processes notice that their data are not the same, without sending any of them."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from datasets.dataset import Dataset

# What the digests of `form_digests` and of `sample_digests` are of, as messages name it.
FORM = ("the classes, by name and order", "the inputs: their shape, columns, categories or vocabulary")
SAMPLES = ("training samples or labels", "inputs of the training samples")

_MAX_LABELS, _MAX_INPUTS, _MAX_COLUMNS = 10_000, 100, 20
_LENGTH = 16


def form_digests(dataset: Dataset) -> list[str]:
    """Return digests of what targets and inputs mean, in the order of `FORM`."""
    encoder = dataset.encoder
    columns = [(name, encoder.categories.get(name)) for name in encoder.columns] if encoder else []
    inputs = (dataset.kind, dataset.input_shape, columns, dataset.num_tokens, dataset.vocabulary)
    return [_digest([repr(form).encode()]) for form in (dataset.class_names, inputs)]


def sample_digests(dataset: Dataset, indices: npt.NDArray[np.int64]) -> list[str]:
    """Return digests of training samples, in the order of `SAMPLES`, from some of them if there are many.

    The first is of the indices and targets. The second is of the inputs; of features, which are standardised,
    so that processors may differ in their last bits, it is of the order in which some of their values are.
    """
    targets = dataset.train.targets[_some(indices, _MAX_LABELS)]
    inputs = dataset.train.inputs[_some(indices, _MAX_INPUTS)]
    values = _bytes(_order(inputs) if inputs.is_floating_point() else inputs)
    return [_digest([indices.astype("<i8").tobytes(), _bytes(targets)]), _digest([values])]


def _order(inputs: torch.Tensor) -> torch.Tensor:
    """Return whether values are smaller than those of the next sample; standardising changes none of it."""
    columns = inputs.flatten(1)
    columns = columns[:, :: -(-columns.shape[1] // _MAX_COLUMNS)]
    return columns[:-1] < columns[1:]


def _some(indices: npt.NDArray[np.int64], most: int) -> torch.Tensor:
    return torch.from_numpy(np.array(indices[:: -(-len(indices) // most) or 1]))


def _bytes(values: torch.Tensor) -> bytes:
    return values.cpu().contiguous().numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:_LENGTH]
