"""What a strategy returns, as the global model that it is to become."""

from collections.abc import Mapping

from flwr.app import Array, ArrayRecord

from common.records import record_of, to_array, to_ndarray


def conform(arrays: Mapping[str, Array], reference: Mapping[str, Array]) -> ArrayRecord:
    """Return a strategy's result in the order and dtypes of the global model.

    Integers that were averaged as floats are rounded; names that a strategy left out stay.

    Raises
    ------
    ValueError
        If the strategy returned an unknown name or another shape.
    """
    for name, array in arrays.items():
        if name not in reference or array.shape != reference[name].shape:
            raise ValueError(
                f"the strategy returned '{name}' with shape {array.shape}, which the model does not have"
            )
    conformed = {}
    for name, old in reference.items():
        new = arrays.get(name, old)
        if new.dtype != old.dtype:
            values = to_ndarray(new)
            new = to_array(
                (values.round() if old.dtype.startswith(("int", "uint")) else values).astype(old.dtype)
            )
        conformed[name] = new
    return record_of(conformed)
