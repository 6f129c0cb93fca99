"""Converts a strategy's attributes to tensors and JSON and back, without pickle."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord

from common.errors import UserError, shown
from common.records import to_array, to_ndarray
from strategies.fedavg import FedAvg

_KIND = "kind"


class UnsupportedStateError(UserError):
    """A strategy has an attribute that cannot be written to a checkpoint."""


def capture_attributes(strategy: FedAvg) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return a strategy's state as a JSON tree and the tensors that it refers to.

    Raises
    ------
    UnsupportedStateError
        If an attribute is of a type that is not data.
    """
    tensors: dict[str, torch.Tensor] = {}
    state = strategy.state()
    if not isinstance(state, Mapping):
        raise UserError(f"what {type(strategy).__name__}.state returns must be a mapping, not {shown(state)}")
    try:
        tree = {name: _encode(value, name, tensors) for name, value in state.items()}
    except UnsupportedStateError as error:
        raise UnsupportedStateError(
            f"{type(strategy).__name__} cannot be checkpointed: {error}; keep numbers, strings, tensors,"
            " arrays and lists or dictionaries of them"
        ) from None
    return tree, tensors


def restore_attributes(
    strategy: FedAvg, tree: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Set a strategy's state to what ``capture_attributes`` returned."""
    strategy.restore({name: _decode(node, tensors) for name, node in tree.items()})


def _encode(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    is_numpy = isinstance(value, np.ndarray | np.number | np.bool_)
    # np.float64 is a float, but unlike float it promotes float32 arrays: so its type is restored.
    if value is None or (isinstance(value, bool | int | float | str) and not is_numpy):
        return value
    if isinstance(value, torch.Tensor):
        key = _unused(path, tensors)
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {_KIND: "tensor", "key": key}
    if is_numpy:
        key = _unused(path, tensors)
        tensors[key] = torch.from_numpy(np.array(value))
        return {_KIND: "ndarray" if isinstance(value, np.ndarray) else "scalar", "key": key}
    if isinstance(value, ArrayRecord):
        inner = {name: to_ndarray(array) for name, array in value.items()}
        return {_KIND: "ArrayRecord", "items": _encode_items(inner, path, tensors)}
    for kind, record in (("ConfigRecord", ConfigRecord), ("MetricRecord", MetricRecord), ("dict", dict)):
        if isinstance(value, record):
            return {_KIND: kind, "items": _encode_items(value, path, tensors)}
    for kind, sequence in (("list", list), ("tuple", tuple)):
        if isinstance(value, sequence):
            return {_KIND: kind, "values": [_encode(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    raise UnsupportedStateError(f"attribute '{path}' is of type {type(value).__name__}")


def _unused(path: str, tensors: Mapping[str, torch.Tensor]) -> str:
    # The keys 1 and "1" of a dict have the same path.
    return path if path not in tensors else _unused(f"{path}'", tensors)


def _encode_items(value: Mapping[Any, Any], path: str, tensors: dict[str, torch.Tensor]) -> list[list[Any]]:
    for key in value:
        if not isinstance(key, str | int):
            raise UnsupportedStateError(
                f"attribute '{path}' has the key {key!r} of type {type(key).__name__}"
            )
    return [[key, _encode(inner, f"{path}/{key}", tensors)] for key, inner in value.items()]


def _decode(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    kind = node[_KIND]
    if kind == "tensor":
        return tensors[node["key"]]
    if kind == "ndarray":
        return tensors[node["key"]].numpy()
    if kind == "scalar":
        return tensors[node["key"]].numpy()[()]
    if kind in ("list", "tuple"):
        values = [_decode(inner, tensors) for inner in node["values"]]
        return values if kind == "list" else tuple(values)
    items = {key: _decode(inner, tensors) for key, inner in node["items"]}
    if kind == "ArrayRecord":
        return ArrayRecord({name: to_array(ndarray) for name, ndarray in items.items()})
    return {"dict": dict, "ConfigRecord": ConfigRecord, "MetricRecord": MetricRecord}[kind](items)
