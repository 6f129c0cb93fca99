"""A SuperLink that refuses a part of a message once ends no run."""

from collections.abc import Iterable

import pytest
from flwr.app import Message, RecordDict

from common.flower import ObjectPushError, assume_task_identity
from server.messages.pushed_again import PushedAgain
from tests.strategies.messages import NodesOnly


class Refusing(NodesOnly):
    """A Grid that refuses what is pushed some times."""

    def __init__(self, refusals: int) -> None:
        super().__init__([1])
        self.refusals = refusals
        self.pushed: list[list[Message]] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self.pushed.append(list(messages))
        if len(self.pushed) <= self.refusals:
            raise ObjectPushError("part", 1, "session")
        return [str(number) for number in range(len(self.pushed[-1]))]


def messages() -> list[Message]:
    assume_task_identity()
    return [Message(RecordDict(), dst_node_id=1, message_type="train") for _ in range(2)]


@pytest.mark.parametrize("refusals", [0, 1])
def test_the_same_messages_are_pushed_until_all_parts_are_there(refusals: int) -> None:
    grid, sent = Refusing(refusals), messages()
    assert list(PushedAgain(grid).push_messages(iter(sent))) == ["0", "1"]
    assert len(grid.pushed) == refusals + 1
    assert all(pushed == sent for pushed in grid.pushed)


def test_but_not_for_ever() -> None:
    with pytest.raises(ObjectPushError):
        PushedAgain(Refusing(2)).push_messages(messages())
