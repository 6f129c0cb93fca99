"""Initial weights from a local file; nothing is ever downloaded."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from common.errors import UserError
from common.files import expanded, read_regular
from common.records import is_finite
from models.architectures.library import LibraryClassifier

State = Mapping[str, Tensor]

_HEAD = "classifier."
_BODY = "body."


def load_weights(
    model: LibraryClassifier,
    model_name: str,
    path: str,
    convert: Callable[[State], State] = lambda state: state,
) -> None:
    """Copy a file's weights into a model.

    The file is a state dict of the library's own model, or the ``model.safetensors`` of a run. If the file's
    classifier is missing or has another shape, the model's keeps its random weights, with a remark. First
    convolutions with three input channels are summed over them for a model with one.

    Parameters
    ----------
    model : LibraryClassifier
        The model.
    model_name : str
        Its name, for messages.
    path : str
        ``.safetensors``, or a file of ``torch.save`` (read without running code).
    convert : callable, optional
        The library's own conversion of state dicts before loading.

    Raises
    ------
    UserError
        If the file cannot be read or does not fit.
    """
    state = read_state(path)
    if not any(key.startswith(_BODY) for key in state):
        state = _in_our_names(convert(state), model.head_name)
    target = model.state_dict()
    state = {key: _in_shape(value, target[key]) if key in target else value for key, value in state.items()}
    fits_head = all(
        key in state and state[key].shape == value.shape for key, value in target.items() if _is_head(key)
    )
    if not fits_head:
        weight = f"{_HEAD}weight"
        found = f"has shape {tuple(state[weight].shape)}" if weight in state else "is missing"
        model.remarks = (
            f"model.weights: the classifier keeps its random weights of shape {tuple(target[weight].shape)}:"
            f" that of the file {found}",
        )
    fitted = {}
    for key, value in target.items():
        if _is_head(key) and not fits_head:
            continue
        if key not in state:
            if key.endswith("num_batches_tracked"):  # older files lack it
                continue
            raise misfit(path, model_name, f"it lacks '{_theirs(key, model)}'")
        if reason := misfit_of(state[key], value):
            raise misfit(path, model_name, f"'{_theirs(key, model)}' {reason}")
        fitted[key] = state[key]
    if unknown := next((key for key in state if key not in target), None):
        raise misfit(path, model_name, f"the model has no '{_theirs(unknown, model)}'")
    model.load_state_dict(fitted, strict=False)


def read_state(path: str) -> State:
    """Read a file's tensors; prefixes that training scripts add are stripped.

    Raises
    ------
    UserError
        If there is no such file, or it is not a mapping of names to tensors.
    """
    file = expanded(path, "model.weights")
    if not file.is_file():
        raise UserError(f"model.weights: there is no file '{path}'")
    content = _content(path, file)
    if isinstance(content, Mapping):
        for key in ("state_dict", "model"):  # training scripts nest the weights
            if isinstance(content.get(key), Mapping):
                content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise _unreadable(path, "it does not hold a mapping of names to tensors")
    for key, value in content.items():
        _check_values(path, key, value)
    return {key.removeprefix("module."): value for key, value in content.items()}


def _content(path: str, file: Path) -> Any:
    """Load a file's content without running code in it."""
    if file.suffix == ".safetensors":
        try:
            return load(read_regular(file))
        except (OSError, ValueError, LookupError, TypeError, MemoryError, SafetensorError) as error:
            raise _unreadable(path, " ".join(str(error).split())) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # of what made the file, before it is refused
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # damaged files raise anything, and torch's text is a page about its options
        raise _unreadable(path, "torch cannot read it without running code that is in it") from None


def _check_values(path: str, key: str, value: Tensor) -> None:
    """Refuse entries that no model can start from: quantised, sparse, complex, empty, or not finite."""
    is_plain = value.layout == torch.strided and not (value.is_meta or value.is_quantized)
    has_few_bits = value.is_floating_point() and value.itemsize < 2
    if not is_plain or value.is_complex() or has_few_bits:
        raise _unreadable(path, f"'{key}' is not a plain tensor of numbers")
    if not is_finite(value):
        raise _unreadable(path, f"'{key}' has values that are not finite")


def _in_our_names(state: State, head: str) -> State:
    prefix = f"{head}."
    return {
        _HEAD + key.removeprefix(prefix) if key.startswith(prefix) else _BODY + key: value
        for key, value in state.items()
    }


def _is_head(key: str) -> bool:
    return key.startswith(_HEAD)


def _in_shape(value: Tensor, target: Tensor) -> Tensor:
    """Sum a first convolution over colours, and flatten a 1x1 convolution that is a linear layer here."""
    if value.ndim == target.ndim == 4 and (value.shape[1], target.shape[1]) == (3, 1):
        return value.sum(dim=1, keepdim=True)
    if value.shape == (*target.shape, 1, 1):
        return value.flatten(1)
    return value


def _theirs(key: str, model: LibraryClassifier) -> str:
    """Return the library's name of an entry of the model."""
    return f"{model.head_name}.{key.removeprefix(_HEAD)}" if _is_head(key) else key.removeprefix(_BODY)


def misfit_of(found: Tensor, wanted: Tensor) -> str | None:
    """Return why a file's tensor does not fit a model's, as the rest of a sentence; None if it fits."""
    if found.shape != wanted.shape:
        return f"is {tuple(found.shape)} there and {tuple(wanted.shape)} in the model"
    if found.is_floating_point() != wanted.is_floating_point():
        return f"is {found.dtype} there and {wanted.dtype} in the model"
    return None


def misfit(path: str, model_name: str, reason: str) -> UserError:
    """Return the error for a file of weights that do not fit the model."""
    return UserError(f"model.weights: '{path}' does not fit model '{model_name}': {reason}")


def _unreadable(path: str, reason: str) -> UserError:
    return UserError(
        f"model.weights: '{path}' cannot be read as weights ({reason}):"
        " give a state dict saved by torch, or a .safetensors file"
    )
