"""Conversion of arrays, lists, torch data sets and data frames to arrays and tensors of known kinds."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from common.errors import UserError
from datasets.dataset import Kind

LABELS = ("label", "target", "class", "y")
"""Columns of a table that are taken for the target if none is named."""

_CHANNELS = (1, 3)


@dataclass(frozen=True, eq=False)
class Part:
    """Inputs, targets and perhaps clients of a part, aligned by sample."""

    inputs: Any
    targets: np.ndarray
    clients: np.ndarray | None = None


def as_part(value: Any, where: str, label: str, client: str) -> Part:
    """Convert what an author provided; error messages start with `where`.

    Raises
    ------
    UserError
        If it is of no supported type.
    """
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return _of_frame(value, where, label, client)
    if isinstance(value, tuple | list) and len(value) in (2, 3):
        inputs, targets, *clients = value
        return Part(
            inputs, _array(targets, f"{where}: targets"), _array(clients[0], where) if clients else None
        )
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, dict | str):
        return _of_samples(value, where)
    raise UserError(
        f"{where} must be a pair of inputs and targets, with or without clients, a torch Dataset or a"
        f" DataFrame, not {type(value).__name__}"
    )


def kind_of(inputs: Any) -> Kind:
    """Return whether inputs are images; otherwise they are features."""
    values = _tensor(inputs, "inputs")
    return "images" if values.dtype == torch.uint8 and values.ndim in (3, 4) else "features"


def as_inputs(inputs: Any, kind: Kind, where: str) -> torch.Tensor:
    """Return inputs in the form of a `datasets.dataset.Split`, except that features are still float64.

    Raises
    ------
    UserError
        If they are not of this kind, or not finite.
    """
    values = _tensor(inputs, f"{where}: inputs")
    if not values.numel():
        raise UserError(f"{where} has no samples, or empty ones")
    if kind == "images":
        return _images(values, where)
    if kind == "tokens":
        if values.is_floating_point() or values.ndim != 2 or int(values.min()) < 0:
            raise UserError(
                f"{where}: tokens are integers from 0, (samples, length), not {_described(values)}"
            )
        return values if values.dtype == torch.uint8 else values.to(torch.int32)
    features = values.double() if values.ndim > 1 else values.double()[:, None]
    if not bool(torch.isfinite(features).all()):
        first = int((~torch.isfinite(features)).flatten(1).any(dim=1).nonzero()[0])
        raise UserError(f"{where}: sample {first} has an input that is missing or not finite")
    return features


def _images(values: torch.Tensor, where: str) -> torch.Tensor:
    if values.dtype != torch.uint8 or values.ndim not in (3, 4):
        raise UserError(
            f"{where}: images are uint8, (samples, channels, height, width), not {_described(values)}"
        )
    if values.ndim == 3:
        return values[:, None].contiguous()
    if values.shape[1] not in _CHANNELS and values.shape[3] in _CHANNELS:
        values = values.permute(0, 3, 1, 2)
    return values.contiguous()


def _tensor(values: Any, where: str) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        tensor = values.detach().cpu() if values.ndim else values[None]
    else:
        array = _array(values, where)
        if array.dtype.kind not in "biuf":
            raise UserError(f"{where} must be numbers, not {array.dtype}")
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # torch supports few operations on these
            array = array.astype(np.int64)
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # and has no long double
            array = array.astype(np.float64)
        tensor = torch.from_numpy(
            np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
        )
    return tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor


def _array(values: Any, where: str, at_least: int = 1) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:  # rows of different lengths
        raise UserError(f"{where} cannot become an array: {' '.join(str(error).split())}") from None
    if array.ndim < at_least:
        raise UserError(f"{where} must be an array, not a single value")
    return array


def _of_frame(frame: Any, where: str, label: str, client: str) -> Part:
    label = label or next((name for name in LABELS if name in frame.columns), LABELS[0])
    for key, column in (("label", label), ("client", client)):
        if (column or key == "label") and column not in frame.columns:
            raise UserError(f"{where}: the DataFrame has no column '{column}' (Arrays.{key})")
    features = frame.drop(columns=[column for column in (label, client) if column])
    for column, values in features.items():
        if values.dtype.kind not in "biuf":
            raise UserError(
                f"{where}: column '{column}' of the DataFrame must be numbers, not {values.dtype}"
            )
    owners = frame[client].to_numpy() if client else None
    # Converted together, boolean and numeric columns would become an object array.
    flags = {column: np.uint8 for column, values in features.items() if values.dtype == bool}
    return Part(features.astype(flags).to_numpy(), frame[label].to_numpy(), owners)


def _of_samples(samples: Any, where: str) -> Part:
    """Read a torch ``Dataset``, sample by sample."""
    pairs = [samples[index] for index in range(len(samples))]
    if not all(isinstance(pair, tuple | list) and len(pair) in (2, 3) for pair in pairs):
        raise UserError(f"{where}: each sample must be a pair of an input and a target")
    arrays = [_array(pair[0], where, 0) for pair in pairs]
    if shapes := {array.shape for array in arrays} - {arrays[0].shape} if arrays else ():
        raise UserError(f"{where}: samples differ in shape ({arrays[0].shape} and {min(shapes)})")
    clients = _array([pair[2] for pair in pairs], where) if pairs and len(pairs[0]) == 3 else None
    targets = np.stack([_array(pair[1], where, 0) for pair in pairs]) if pairs else np.empty(0)
    return Part(np.stack(arrays) if arrays else np.empty((0, 1)), targets, clients)


def _described(values: torch.Tensor) -> str:
    return f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}"
