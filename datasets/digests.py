"""Short digests by which processes notice that their data are not the same, without sending any of them."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from datasets.dataset import Dataset, Split

# What the digests of `form_digests` and of `sample_digests` are of, as messages name it.
FORM = ("the classes, by name and order", "the inputs: their shape, columns, categories or vocabulary")
SAMPLES = ("training samples or labels", "inputs of the training samples")

_MAX_LABELS, _MAX_INPUTS, _MAX_COLUMNS = 10_000, 100, 20
_MAX_BYTES = 2**28
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
    return [_digest([indices.astype("<i8").tobytes(), _bytes(targets)]), _digest([_portable(inputs)])]


def split_digests(split: Split) -> list[str]:
    """Return digests of the targets and of the inputs of a split.

    Of all samples, or of some if they have many bytes; of inputs that are whole numbers, the sum of each
    sample counts, and all values of a few. Of other numbers it is the order, as in `sample_digests`.
    """
    inputs, targets = split.inputs, split.targets
    few = inputs[_some(np.arange(len(inputs)), _MAX_INPUTS)]
    sums = b"" if inputs.is_floating_point() else _bytes(_sums(_within_bytes(inputs)))
    size = str(tuple(inputs.shape)).encode()
    return [_digest([_portable(_within_bytes(targets))]), _digest([size, sums, _portable(few)])]


def _within_bytes(values: torch.Tensor) -> torch.Tensor:
    """Return a view of the samples, evenly spaced ones if all have too many bytes."""
    return values[:: -(-values.nbytes // _MAX_BYTES) or 1]


def _sums(values: torch.Tensor) -> torch.Tensor:
    """Return a number for each sample, from all of its whole numbers, as fast as memory is read."""
    rows = _rows(values)
    if rows.dtype == torch.uint8 and rows.shape[1] % 8 == 0:
        rows = rows.view(torch.int64)
    return rows.sum(dim=1, dtype=torch.int64)


def _rows(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1) if values.ndim > 1 else values[:, None]


def _portable(values: torch.Tensor) -> bytes:
    return _bytes(_order(values) if values.is_floating_point() else values)


def _order(inputs: torch.Tensor) -> torch.Tensor:
    """Return whether values are smaller than those of the next sample; standardising changes none of it."""
    columns = _rows(inputs)
    columns = columns[:, :: -(-columns.shape[1] // _MAX_COLUMNS)]
    return columns[:-1] < columns[1:]


def _some(indices: npt.NDArray[np.int64], most: int) -> torch.Tensor:
    return torch.from_numpy(np.array(indices[:: -(-len(indices) // most) or 1]))


def _bytes(values: torch.Tensor) -> bytes:
    return values.cpu().contiguous().numpy().tobytes()


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:_LENGTH]
