"""Converts a strategy's result to the next global model."""

from collections.abc import Mapping

import torch
from flwr.app import Array, ArrayRecord

from common.errors import UserError, nearest
from common.flower import new_array_record
from common.records import to_array, to_ndarray
from strategies._aggregation import whole


def conform(arrays: Mapping[str, Array], reference: Mapping[str, Array], what: str) -> ArrayRecord:
    """Return a strategy's result in the order and dtypes of the global model.

    Integers that were averaged as floats are rounded down; names that a strategy left out stay.

    Raises
    ------
    UserError
        One line that starts with `what`, if there is an unknown name, another shape, or integers instead of
        floating-point numbers.
    """
    for name, array in arrays.items():
        if name not in reference:
            raise UserError(
                f"{what} has '{name}', which is not an entry of the model{nearest(name, reference)}"
            )
        if array.shape != (shape := reference[name].shape):
            raise UserError(f"{what} has '{name}' of shape {array.shape}, which is {shape} in the model")
        if reference[name].dtype.startswith("float") and not array.dtype.startswith("float"):
            raise UserError(f"{what} has '{name}' as {array.dtype}: it must be floating-point numbers")
    conformed = {}
    for name, old in reference.items():
        new = arrays.get(name, old)
        if new.dtype != old.dtype:
            values = to_ndarray(new)
            if old.dtype.startswith(("int", "uint")):
                values = whole(torch.from_numpy(values).double()).numpy()
            new = to_array(values.astype(old.dtype))
        conformed[name] = new
    return new_array_record(conformed)
