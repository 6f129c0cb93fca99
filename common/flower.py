"""The one module that touches Flower's internals (flwr 1.39).

Messages can be made only in a process that has a task identity, and get their id from a SuperLink. Our
own Grids carry messages without one, so they do both here.
"""

from flwr.app import Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

RUN_ID = 1
SERVER_NODE_ID = 1  # flwr.common.constant.SUPERLINK_NODE_ID
NODE_UNAVAILABLE = 5  # flwr.common.constant.ErrorCode.NODE_UNAVAILABLE
# Of the same: a message or its reply did not arrive whole, or the process that was to answer it has died.
REPLY_LOST = (3, 4, 8)  # MESSAGE_UNAVAILABLE, REPLY_MESSAGE_UNAVAILABLE, CLIENT_APP_CRASHED

__all__ = [
    "NODE_UNAVAILABLE",
    "REPLY_LOST",
    "RUN_ID",
    "SERVER_NODE_ID",
    "Metadata",
    "Run",
    "assume_task_identity",
    "is_simulation",
    "rebuild_message",
    "set_message_id",
]


def assume_task_identity() -> None:
    """Let this process make messages as the server of run ``RUN_ID``."""
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = RUN_ID
    TaskIdentity.node_id = SERVER_NODE_ID


def is_simulation(grid: Grid) -> bool:
    """Say whether a Grid is that of Flower's own simulation, which makes all of its nodes at the start."""
    # By name: its module imports the SuperLink's.
    return any(base.__name__ == "InMemoryGrid" for base in type(grid).__mro__)


def set_message_id(message: Message, message_id: str) -> None:
    """Give a message the id that its reply will refer to."""
    message.metadata.__dict__["_message_id"] = message_id


def rebuild_message(content: RecordDict, metadata: Metadata) -> Message:
    """Put a message together whose content and metadata travelled apart."""
    return Message(content=content, metadata=metadata)  # type: ignore[call-overload, no-any-return]
