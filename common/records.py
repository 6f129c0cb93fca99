"""Convert tensors to Flower's records and back, without needless copies.

A *section* is a mapping of name → tensor. A message carries several sections by name, each as one
``ArrayRecord``: ``"arrays"`` is the model, a method may add others such as ``"control"``.
"""

import functools
import io
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from common.flower import entries, new_array, new_array_record

Tensors = dict[str, torch.Tensor]
Payload = dict[str, Tensors]
_Record = TypeVar("_Record", ConfigRecord, MetricRecord)

ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
# Message types for jobs in addition to Flower's ``train`` and ``evaluate``.
DESCRIBE, LOSS_QUERY, PRELUDE = "query.describe", "query.loss", "query.prelude"
GET_STATE, SET_STATE = "query.get_state", "query.set_state"
PERSONAL_MODEL = "query.personal_model"
# The record in a client's state that shows that its node has not been restarted since the server first
# contacted it.
MET = "met"
# Entries of a message's config: the round, from 1; whether the loss of only one mini-batch is requested.
SERVER_ROUND, ONE_BATCH = "server-round", "one-batch"
# The metric by which the round loop passes the correction of a client's weight to a strategy.
PARTICIPATION_WEIGHT = "participation-weight"
FINITE_STEPS = "finite-steps"  # number of local steps before a client's loss became non-finite
# The entry of a message's config with the size of the client's sub-model.
SIZE = "size"
# The entry with the number of local steps, if it changes from round to round.
LOCAL_STEPS = "local-steps"
# The entry with the number of local steps before this round.
FIRST_STEP = "first-step"
# The record of a message with the number of its exchange and the names of earlier replies that were lost.
EXCHANGE, NUMBER, LOST = "exchange", "number", "lost"

# Received payloads are read-only views of the message's bytes; nothing here writes to them.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


NOT_MADE: Mapping[int, Array] = {}
_COPIED_TWICE = 2**16  # bytes up to which a second copy costs less than a view


@functools.lru_cache(maxsize=4096)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer,
        {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape},
    )
    return buffer.getvalue()


@functools.lru_cache(maxsize=4096)
def _layout(dtype: str, shape: tuple[int, ...]) -> tuple[np.dtype, int, bytes]:
    """Return NumPy's dtype, the number of values and the header of an array."""
    numpy_dtype = np.dtype(dtype)
    return numpy_dtype, math.prod(shape), _npy_header(numpy_dtype.str, shape)


@functools.lru_cache(maxsize=64)
def _dtype_name(dtype: np.dtype) -> str:
    return str(dtype)


def to_array(value: torch.Tensor | np.ndarray) -> Array:
    """Serialise one tensor as Flower does (NumPy's ``.npy`` format), in one copy."""
    ndarray = value.numpy(force=True) if isinstance(value, torch.Tensor) else value
    shape, header = ndarray.shape, _npy_header(ndarray.dtype.str, ndarray.shape)
    if ndarray.nbytes <= _COPIED_TWICE:
        data = header + ndarray.tobytes()
    else:
        data = b"".join((header, np.ascontiguousarray(ndarray).reshape(-1).view(np.uint8).data))
    return new_array(_dtype_name(ndarray.dtype), shape, data)


def rows_to_arrays(stacked: torch.Tensor) -> Iterator[Array]:
    """Serialise the rows of a stacked tensor lazily, each as ``to_array`` does."""
    ndarray = np.ascontiguousarray(stacked.numpy(force=True))
    name, shape = _dtype_name(ndarray.dtype), ndarray.shape[1:]
    header, size = _npy_header(ndarray.dtype.str, shape), math.prod(shape) * ndarray.itemsize
    content = ndarray.reshape(-1).view(np.uint8).data
    for row in range(len(ndarray)):
        yield new_array(name, shape, header + content[row * size : (row + 1) * size])


def to_ndarray(array: Array) -> np.ndarray:
    """Return a read-only view of an array's bytes.

    Raises
    ------
    ValueError, TypeError
        If they do not match its shape and dtype; pickled objects are refused.
    """
    dtype, count, header = _layout(array.dtype, array.shape)
    offset = len(array.data) - count * dtype.itemsize
    if array.stype != "numpy.ndarray" or array.data[:offset] != header:
        return _decoded(array)
    return np.ndarray(array.shape, dtype, array.data, offset)


def _decoded(array: Array) -> np.ndarray:
    """Decode an array that another program wrote, without allocating the size that its header claims."""
    if array.stype != "numpy.ndarray":
        raise ValueError(f"it is serialised as '{array.stype}', not as NumPy's")
    stream = io.BytesIO(array.data)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(np.lib.format.read_magic(stream))
    if read_header is None:
        raise ValueError("its NumPy format is of an unknown version")
    shape, is_fortran, dtype = read_header(stream)
    if (str(dtype), shape) != (array.dtype, tuple(array.shape)) or dtype.hasobject:
        raise ValueError(f"it holds {dtype}{shape}, and says {array.dtype}{tuple(array.shape)}")
    count = math.prod(shape)
    if len(array.data) - stream.tell() != count * dtype.itemsize:
        raise ValueError(f"it has {len(array.data) - stream.tell()} bytes, not {count * dtype.itemsize}")
    values = np.frombuffer(array.data, dtype, count, stream.tell())
    return values.reshape(shape, order="F" if is_fortran else "C")


def to_record(section: Mapping[str, torch.Tensor], made: Mapping[int, Array] = NOT_MADE) -> ArrayRecord:
    """Serialise a section; `made` maps the ``id`` of tensors that are serialised already to their arrays."""
    return new_array_record(
        {name: made.get(id(tensor)) or to_array(tensor) for name, tensor in section.items()}
    )


def to_tensors(record: Mapping[str, Array]) -> Tensors:
    """Return a record's tensors as read-only views: copy before writing to them."""
    return {name: torch.from_numpy(to_ndarray(array)) for name, array in record.items()}


def to_payload(content: RecordDict) -> Payload:
    """Return every section of a message's content."""
    return {name: to_tensors(record) for name, record in array_records(content).items()}


def array_records(content: RecordDict) -> dict[str, ArrayRecord]:
    """Return the serialised sections of a message; Flower's own property costs many times as much."""
    return {name: record for name, record in entries(content).items() if isinstance(record, ArrayRecord)}


def metrics_record(content: RecordDict) -> MetricRecord:
    """Return a message's metrics; Flower's own properties copy all records of a kind at every access."""
    return _record_of(content, METRICS, MetricRecord)


def config_record(content: RecordDict, name: str = CONFIG) -> ConfigRecord:
    """Return the config record of a message, by default that of its job."""
    return _record_of(content, name, ConfigRecord)


def _record_of(content: RecordDict, name: str, kind: type[_Record]) -> _Record:
    record = entries(content).get(name)
    if not isinstance(record, kind):
        raise KeyError(name)
    return record


def num_bytes(record: Mapping[str, Array]) -> int:
    """Count the bytes of a record's values, without headers."""
    layouts = (_layout(array.dtype, array.shape) for array in record.values())
    return sum(count * dtype.itemsize for dtype, count, _ in layouts)


def content_bytes(content: RecordDict) -> int:
    """Count the bytes of all arrays of a message's content."""
    return sum(num_bytes(record) for record in array_records(content).values())


def reply_name(exchange: int, client_id: int) -> str:
    """Return the name of a client's reply in an exchange, by which a later message may report it as lost."""
    return f"{exchange}/{client_id}"


def is_finite(value: torch.Tensor) -> bool:
    """Return whether no element is infinite or NaN."""
    if not value.is_floating_point():
        return True
    # A sum is finite unless an element is not, or it overflows: only then look at each element.
    return math.isfinite(value.sum().item()) or bool(torch.isfinite(value).all())


def finite_since(metrics: Mapping[str, object]) -> str:
    """Return a note on the local step in which a client's loss became non-finite; empty if it did not."""
    if FINITE_STEPS not in metrics:
        return ""
    steps = int(metrics[FINITE_STEPS])  # type: ignore[call-overload]
    if steps == 0:
        return (
            "; its loss was not finite before the first local step: the model that it was sent has diverged"
        )
    return f"; its loss was finite in {steps} local step{'s' * (steps > 1)}, then no longer"
