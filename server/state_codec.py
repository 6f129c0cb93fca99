"""A strategy's attributes to tensors and JSON and back: no pickle, no code."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import Strategy

from common.records import to_array, to_ndarray

_KIND = "kind"


class UnsupportedStateError(TypeError):
    """A strategy keeps something that cannot be written to a checkpoint."""


def capture_attributes(strategy: Strategy) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return a strategy's attributes as a JSON tree and the tensors that it refers to.

    Functions are configuration and left out, and so are the attributes that the class lists in
    ``TRANSIENT``: what every round sets anew.

    Raises
    ------
    UnsupportedStateError
        If an attribute is of a type that is neither data nor a function.
    """
    tensors: dict[str, torch.Tensor] = {}
    transient = getattr(strategy, "TRANSIENT", ())
    tree = {
        name: _encode(value, name, tensors)
        for name, value in vars(strategy).items()
        if name not in transient and not callable(value)
    }
    return tree, tensors


def restore_attributes(
    strategy: Strategy, tree: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Set a strategy's attributes to what ``capture_attributes`` returned."""
    for name, node in tree.items():
        setattr(strategy, name, _decode(node, tensors))


def _encode(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_KIND: "tensor", "key": path}
    if isinstance(value, np.ndarray | np.generic):
        tensors[path] = torch.from_numpy(np.array(value))
        return {_KIND: "ndarray" if isinstance(value, np.ndarray) else "scalar", "key": path}
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


def _encode_items(value: Mapping[Any, Any], path: str, tensors: dict[str, torch.Tensor]) -> list[list[Any]]:
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
