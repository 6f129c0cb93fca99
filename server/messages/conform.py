"""Converts a strategy's result to the next global model."""

from collections.abc import Mapping

import torch
from flwr.app import Array, ArrayRecord

from common.errors import UserError
from common.flower import new_array_record
from common.records import to_array, to_ndarray
from strategies._aggregation import whole


def conform(arrays: Mapping[str, Array], reference: Mapping[str, Array]) -> ArrayRecord:
    """Return a strategy's result in the order and dtypes of the global model.

    Integers that were averaged as floats are rounded down; names that a strategy left out stay.

    Raises
    ------
    UserError
        If the strategy returned an unknown name or another shape.
    """
    for name, array in arrays.items():
        if name not in reference or array.shape != reference[name].shape:
            raise UserError(
                f"the strategy returned '{name}' with shape {array.shape}, which the model does not have"
            )
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
