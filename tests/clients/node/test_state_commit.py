"""State that came with a lost reply does not count; any other does, from the next message on."""

import torch
from flwr.app import ConfigRecord, RecordDict

from clients.node.state_commit import keep, settle
from common.records import EXCHANGE, LOST, NUMBER, to_tensors
from runtimes.sequential import make_context


def content(number: int, *lost: str) -> RecordDict:
    return RecordDict({EXCHANGE: ConfigRecord({NUMBER: number, LOST: list(lost)})})


def test_a_state_is_put_aside_until_the_next_message_decides() -> None:
    context = make_context(3, 5, {}, 4)

    def value() -> float:
        return float(to_tensors(context.state.array_records["control"])["w"])

    def work(number: int, result: float) -> None:
        keep(context, {"control": {"w": torch.tensor(result)}}, 3, content(number))

    keep(context, {"control": {"w": torch.tensor(1.0)}}, 3, RecordDict())
    assert value() == 1.0  # a message without a number is of a server that tolerates no loss
    work(7, 2.0)
    assert value() == 1.0
    settle(context.state, content(8, "7/2", "6/3"))  # another client's, and one before it
    assert value() == 2.0
    work(8, 3.0)
    settle(context.state, content(9, "8/3"))
    assert value() == 2.0
    settle(context.state, content(10))  # what was lost stays lost
    assert value() == 2.0
    work(10, 4.0)
    settle(context.state, RecordDict())
    assert value() == 4.0
    assert list(context.state.array_records) == ["control"]


def test_a_section_that_a_client_has_given_up_does_not_come_back() -> None:
    context = make_context(3, 5, {}, 4)
    one, other = ({name: {"w": torch.zeros(1)}} for name in ("one", "other"))
    keep(context, one | other, 3, RecordDict())
    keep(context, one, 3, RecordDict())
    assert list(context.state.array_records) == ["one"]
    keep(context, other, 3, content(1))
    settle(context.state, content(2, "1/3"))
    assert list(context.state.array_records) == ["one"]  # the reply was lost
    keep(context, other, 3, content(2))
    settle(context.state, content(3))
    assert list(context.state.array_records) == ["other"]
