"""Records and messages that are made without Flower's constructors are those that they would make."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from common.flower import (
    assume_task_identity,
    new_array,
    new_array_record,
    new_content,
    new_messages,
    new_metrics,
    new_reply,
    set_message_id,
)

VALUES = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.array(3)}
METRICS = {"num-examples": 7, "train_loss": 0.25}


@pytest.fixture(autouse=True)
def identity() -> None:
    assume_task_identity()


def content() -> RecordDict:
    arrays = {name: Array(value) for name, value in VALUES.items()}
    return RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord(dict(METRICS))})


def of_parts() -> RecordDict:
    given = {name: Array(value) for name, value in VALUES.items()}
    arrays = {name: new_array(array.dtype, array.shape, array.data) for name, array in given.items()}
    return new_content({"arrays": new_array_record(arrays), "metrics": new_metrics(METRICS)})


def without_time(message: Message) -> dict[str, object]:
    return {
        name: value for name, value in vars(message.metadata).items() if name not in ("_created_at", "_ttl")
    }


def test_a_content_travels_as_one_that_the_constructors_made() -> None:
    assert of_parts() == content()
    assert of_parts().object_id == content().object_id  # a hash of all that is sent


def test_what_is_written_to_them_later_is_checked_as_ever() -> None:
    made = of_parts()
    with pytest.raises(TypeError):
        made["text"] = "no record"  # type: ignore[assignment]
    array = made.array_records["arrays"]["count"]
    before = array.object_id
    array.data = Array(np.array(4)).data
    assert array.object_id != before


@pytest.mark.parametrize("value", [True, "0.25", None, torch.tensor(1.0)])
def test_metrics_that_are_no_numbers_are_refused_as_by_the_constructor(value: object) -> None:
    with pytest.raises(TypeError):
        MetricRecord({"loss": value})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        new_metrics({"loss": value})  # type: ignore[dict-item]


def test_messages_are_those_of_the_constructor_but_for_the_time() -> None:
    made = new_messages(content(), "train", [5, 6, 7])
    for message, node in zip(made, (5, 6, 7), strict=True):
        expected = Message(content(), dst_node_id=node, message_type="train")
        assert without_time(message) == without_time(expected)
        assert message.content is made[0].content
    set_message_id(made[1], "9")
    assert made[0].metadata.message_id == ""
    assert new_messages(content(), "train", []) == []


def test_a_message_type_that_flower_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid message type"):
        new_messages(content(), "dance", [5])


def test_a_reply_is_that_of_the_constructor_and_expires_with_its_message() -> None:
    asked = Message(RecordDict({"config": ConfigRecord()}), dst_node_id=5, message_type="train", ttl=100.0)
    set_message_id(asked, "3")
    made, expected = new_reply(content(), asked), Message(content(), reply_to=asked)
    assert without_time(made) == without_time(expected)
    assert made.content == content()
    expires = asked.metadata.created_at + asked.metadata.ttl
    assert made.metadata.created_at + made.metadata.ttl == pytest.approx(expires, abs=1e-3)
    assert made.object_id != asked.object_id
