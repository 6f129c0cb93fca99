"""Hand-made messages and a Grid that only names its nodes."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from common.flower import Run, assume_task_identity
from common.records import to_record


class NodesOnly(Grid):
    """A Grid that has nodes and carries nothing."""

    def __init__(self, node_ids: Iterable[int]) -> None:
        assume_task_identity()
        self.node_ids = list(node_ids)

    def get_node_ids(self) -> list[int]:
        return self.node_ids

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    def create_message(self, *arguments: Any, **keywords: Any) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Any:
        raise NotImplementedError


def make_message(node_id: int = 1) -> Message:
    """A message to a node."""
    assume_task_identity()
    return Message(RecordDict({"config": ConfigRecord()}), dst_node_id=node_id, message_type="train")


def make_reply(
    model: Mapping[str, Any],
    num_examples: int,
    sections: Mapping[str, Mapping[str, Any]] | None = None,
    node_id: int = 1,
    **metrics: float,
) -> Message:
    """A reply of a client; values become float32 tensors unless they are tensors or arrays already."""
    content = RecordDict({name: record(section) for name, section in (sections or {}).items()})
    content["arrays"] = record(model)
    content["metrics"] = MetricRecord({"num-examples": num_examples, **metrics})
    return Message(content, reply_to=make_message(node_id))


def record(section: Mapping[str, Any]) -> ArrayRecord:
    """A section from plain numbers, lists, tensors or arrays."""
    return to_record(
        {
            name: value if isinstance(value, torch.Tensor | np.ndarray) else torch.tensor(value).float()
            for name, value in section.items()
        }
    )
