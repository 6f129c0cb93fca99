"""The one module that touches Flower's internals (flwr 1.39).

Messages can be made only in a process that has a task identity, and get their id from a SuperLink. The
project's Grids carry messages without a SuperLink, so this module does both. It also builds records from
parts that are known to be valid: Flower's constructors check each part, which costs more than a local step of
a small model.
"""

import functools
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.metadata import Metadata
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 1
SERVER_NODE_ID = 1  # flwr.common.constant.SUPERLINK_NODE_ID
NODE_UNAVAILABLE = 5  # flwr.common.constant.ErrorCode.NODE_UNAVAILABLE
# Also ErrorCode: a message or its reply did not arrive complete, or the process that should answer has died.
REPLY_LOST = (3, 4, 8)  # MESSAGE_UNAVAILABLE, REPLY_MESSAGE_UNAVAILABLE, CLIENT_APP_CRASHED

_NUMPY = "numpy.ndarray"  # flwr.common.constant.SType.NUMPY
_NUMBERS = frozenset({int, float})
_Record = TypeVar("_Record", ArrayRecord, MetricRecord, RecordDict)
_Any = ArrayRecord | ConfigRecord | MetricRecord | RecordDict

__all__ = [
    "NODE_UNAVAILABLE",
    "REPLY_LOST",
    "RUN_ID",
    "SERVER_NODE_ID",
    "Metadata",
    "ObjectPushError",
    "Run",
    "assume_task_identity",
    "entries",
    "is_simulation",
    "new_array",
    "new_array_record",
    "new_content",
    "new_messages",
    "new_metrics",
    "new_reply",
    "rebuild_message",
    "set_message_id",
]


def assume_task_identity() -> None:
    """Make this process the server of run ``RUN_ID``, so that it can make messages."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.node_id = SERVER_NODE_ID


def is_simulation(grid: Grid) -> bool:
    """Return whether a Grid is that of Flower's simulation, which creates all of its nodes at the start."""
    while (carrier := getattr(grid, "carrier", None)) is not None:  # set by views of a Grid
        grid = carrier
    # By name: importing its module would import the SuperLink.
    return any(base.__name__ == "InMemoryGrid" for base in type(grid).__mro__)


def set_message_id(message: Message, message_id: str) -> None:
    """Set the id of a message, to which its reply refers."""
    message.metadata.__dict__["_message_id"] = message_id


def rebuild_message(content: RecordDict, metadata: Metadata) -> Message:
    """Reassemble a message whose content and metadata were sent separately."""
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload, no-any-return]


def new_array(dtype: str, shape: tuple[int, ...], data: bytes) -> Array:
    """Return an array with these bytes, which are in NumPy's ``.npy`` format."""
    array = Array.__new__(Array)
    vars(array).update(dtype=dtype, shape=shape, stype=_NUMPY, data=data, _is_dirty=True)
    return array


def new_array_record(arrays: Mapping[str, Array]) -> ArrayRecord:
    """Return a record that holds these arrays without a copy; Flower's constructor copies each."""
    return _filled(ArrayRecord, arrays)


def entries(record: _Any) -> Mapping[str, Any]:
    """Return the dictionary inside a record; the record's own methods cost many times as much."""
    return vars(record)["_data"]  # type: ignore[no-any-return]


def new_metrics(values: Mapping[str, int | float]) -> MetricRecord:
    """Return a record of these metrics.

    Raises
    ------
    TypeError
        If one is not a number.
    """
    if _NUMBERS.issuperset(map(type, values.values())):
        return _filled(MetricRecord, values)
    return MetricRecord(dict(values))


def new_content(records: Mapping[str, ArrayRecord | ConfigRecord | MetricRecord]) -> RecordDict:
    """Return the content of a message."""
    return _filled(RecordDict, records)


def new_messages(content: RecordDict, message_type: str, node_ids: Iterable[int]) -> list[Message]:
    """Return a message with this content to each of the nodes."""
    messages: list[Message] = []
    for node_id in node_ids:
        if messages:
            metadata = _like(messages[0].metadata, _dst_node_id=node_id)
            messages.append(_message(content, metadata))
        else:
            messages.append(Message(content, dst_node_id=node_id, message_type=message_type))
    return messages


def new_reply(content: RecordDict, message: Message) -> Message:
    """Return the reply to a message, which must arrive before the message expires."""
    asked, created = vars(message.metadata), time.time()
    return _message(
        content,
        _like(
            message.metadata,
            _message_id="",
            _src_node_id=asked["_dst_node_id"],
            _dst_node_id=asked["_src_node_id"],
            _src_task_id=asked["_dst_task_id"],
            _dst_task_id=asked["_src_task_id"],
            _reply_to_message_id=asked["_message_id"],
            _created_at=created,
            _ttl=asked["_created_at"] + asked["_ttl"] - created,
            _delivered_at="",
        ),
    )


def _message(content: RecordDict, metadata: Metadata) -> Message:
    message = Message.__new__(Message)
    vars(message).update(_metadata=metadata, _content=content, _error=None)
    return message


def _like(metadata: Metadata, **differing: object) -> Metadata:
    made = Metadata.__new__(Metadata)
    vars(made).update(vars(metadata), **differing)
    return made


def _filled(kind: type[_Record], values: Mapping[str, object]) -> _Record:
    record = kind.__new__(kind)
    vars(record).update(_empty(kind), _data=dict(values))
    return record


@functools.cache
def _empty(kind: type[_Record]) -> Mapping[str, object]:
    """Return the attributes of an empty record; making one costs more than copying them."""
    return vars(kind())
