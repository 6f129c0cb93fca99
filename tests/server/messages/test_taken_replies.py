"""Messages name the replies that were not taken, where that matters."""

from flwr.app import Message, RecordDict

from common.flower import assume_task_identity
from common.records import EXCHANGE, LOST
from server.messages.taken_replies import TakenReplies


def empty_message() -> Message:
    assume_task_identity()
    return Message(RecordDict(), dst_node_id=1, message_type="train")


def stamped(replies: TakenReplies) -> list[str]:
    message = empty_message()
    replies.stamp({0: message})
    return message.content.config_records[EXCHANGE][LOST]  # type: ignore[return-value]


def test_lost_replies_are_named_until_the_client_has_answered() -> None:
    replies = TakenReplies(needed=True)
    assert stamped(replies) == []
    replies.note({0: 1, 1: 1, 2: 1}, {0, 2})
    assert stamped(replies) == ["1/1"]
    replies.note({0: 2, 1: 2}, {0})  # client 1 may have done the second job, or still be at the first
    assert stamped(replies) == ["1/1", "2/1"]
    replies.note({0: 3}, {0})
    replies.note({1: 4}, {1})
    assert stamped(replies) == []


def test_messages_stay_as_they_are_where_nothing_can_be_lost() -> None:
    message = empty_message()
    replies = TakenReplies(needed=False)
    assert replies.stamp({0: message}) == {0: 0}
    replies.note({0: 0}, {})
    assert not message.content
