import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Error, Message

from common.errors import ClientFailureError, UserError
from server.messages.replies import ClientFailure, FailedRoundError, ReplyCheck, check_failures
from tests.strategies.messages import make_message, make_reply, record

MODEL: dict[str, Any] = {"w": [1.0, 2.0], "n": torch.tensor(3)}
REFERENCE = record(MODEL)


def reply(model: dict[str, Any] | None = None, **keywords: Any) -> Message:
    return make_reply({**MODEL, **(model or {})}, 10, **keywords)


def error_reply(reason: str | None = "Traceback ...\nValueError: x", code: int = 1000) -> Message:
    return Message(Error(code, reason), reply_to=make_message())  # type: ignore[arg-type]


def check(cohort: list[int], tolerate: bool = False) -> ReplyCheck:
    return ReplyCheck(cohort, dict.fromkeys(cohort, REFERENCE), tolerate)


NAN, INF = float("nan"), float("inf")
FAULTS: dict[str, tuple[Any, str]] = {
    "error": (error_reply, "ValueError: x"),
    "error without reason": (lambda: error_reply(None), "the client gave no reason"),
    "unknown name": (lambda: reply({"other": [1.0]}), "unknown array 'other'"),
    "an array missing": (lambda: make_reply({"w": [1.0, 2.0]}, 10), "lacks the array 'n' of the model"),
    "no array at all": (lambda: make_reply({}, 10), "lacks the array 'w' of the model"),
    "wrong shape": (lambda: reply({"w": [1.0, 2.0, 3.0]}), "'w' is float32(3,), expected float32(2,)"),
    "transposed": (lambda: reply({"w": [[1.0, 2.0]]}), "'w' is float32(1, 2), expected float32(2,)"),
    "wrong dtype": (lambda: reply({"w": np.zeros(2)}), "'w' is float64(2,), expected float32(2,)"),
    "float counter": (lambda: reply({"n": 3.0}), "'n' is float32(), expected int64()"),
    "NaN": (lambda: reply({"w": [1.0, NAN]}), "'arrays' has a value that is not finite in 'w'"),
    "infinity": (lambda: reply({"w": [-INF, 1.0]}), "'arrays' has a value that is not finite in 'w'"),
    "both infinities": (lambda: reply({"w": [INF, -INF]}), "not finite in 'w'"),
    "NaN elsewhere": (lambda: reply(sections={"control": {"c": NAN}}), "'control' has a value that is not"),
    "NaN metric": (lambda: reply(train_loss=NAN), "metric 'train_loss' is nan"),
    "infinite metric": (lambda: reply(train_loss=INF), "metric 'train_loss' is inf"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_the_round_and_names_the_client(fault: str) -> None:
    make, reason = FAULTS[fault]
    checker = check([3, 7])
    with pytest.raises(FailedRoundError) as raised:
        list(checker.in_client_order([(3, reply()), (7, make())]))
    assert raised.value.failure.client_id == 7
    assert reason in raised.value.failure.reason
    assert list(checker.metrics) == [3]


@pytest.mark.parametrize("fault", FAULTS)
def test_or_is_collected_and_left_out(fault: str) -> None:
    make, reason = FAULTS[fault]
    checker = check([1, 3, 7], tolerate=True)
    good = {1: reply(train_loss=0.1), 7: reply(train_loss=0.7)}
    result = list(checker.in_client_order([(7, good[7]), (3, make()), (1, good[1])]))
    assert result == [good[1], good[7]]
    assert [failure.client_id for failure in checker.failures] == [3]
    assert reason in checker.failures[0].reason
    assert {client: row["train_loss"] for client, row in checker.metrics.items()} == {1: 0.1, 7: 0.7}


@pytest.mark.parametrize(
    "values", [[3e38, 3e38], [-3e38, -3e38], [3e38, -3e38], [0.0, -0.0], [1e-45, 1.0]], ids=str
)
def test_large_finite_values_are_no_fault(values: list[float]) -> None:
    # The sum of the first overflows float32.
    message = reply({"w": values})
    assert list(check([0]).in_client_order([(0, message)])) == [message]


def test_a_large_metric_is_no_fault() -> None:
    message = reply(train_loss=1e300)  # beyond float32
    assert list(check([0]).in_client_order([(0, message)])) == [message]


def test_metrics_that_are_not_numbers_are_let_through() -> None:
    message = reply(counts=[1, 2])
    checker = check([0])
    assert list(checker.in_client_order([(0, message)])) == [message]
    assert checker.metrics == {0: {"num-examples": 10}}


@pytest.mark.parametrize("arrival", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]])
def test_replies_come_out_in_client_order_as_soon_as_they_can(arrival: list[int]) -> None:
    cohort = [2, 5, 11, 40]
    replies = {client: reply(train_loss=client / 10) for client in cohort}
    arrived: list[int] = []

    def carrier() -> Any:
        for index in arrival:
            arrived.append(cohort[index])
            yield cohort[index], replies[cohort[index]]

    checker = check(cohort)
    for position, message in enumerate(checker.in_client_order(carrier())):
        assert message is replies[cohort[position]]
        # As soon: the last arrival is the one that completed the clients up to this one.
        needed = max(arrival.index(index) for index in range(position + 1))
        assert len(arrived) == needed + 1
    assert list(checker.metrics) == cohort


def test_a_missing_reply_is_a_failure() -> None:
    with pytest.raises(FailedRoundError) as raised:
        list(check([1, 2, 3]).in_client_order([(1, reply()), (3, reply())]))
    assert raised.value.failure.client_id == 2
    assert "failures.timeout" in raised.value.failure.reason
    checker = check([1, 2, 3, 4], tolerate=True)
    good = reply()
    assert list(checker.in_client_order([(3, good)])) == [good]
    assert [failure.client_id for failure in checker.failures] == [1, 2, 4]


def test_a_misconfigured_node_is_the_users_to_mend() -> None:
    for tolerate in (False, True):
        with pytest.raises(UserError, match="no data in /x"):
            list(check([0], tolerate).in_client_order([(0, error_reply("no data in /x", 1001))]))


def test_bytes_are_those_of_the_arrays() -> None:
    checker = check([0, 1], tolerate=True)
    replies = [(0, reply(sections={"control": {"c": [1.0, 2.0, 3.0]}})), (1, reply({"w": [NAN, 1.0]}))]
    list(checker.in_client_order(replies))
    assert checker.num_bytes == 2 * 4 + 8 + 3 * 4  # the faulty one does not count


@pytest.mark.usefixtures("few_objects")
def test_replies_can_be_freed_one_by_one() -> None:
    alive: list[weakref.ref[Message]] = []

    def make() -> Message:
        message = reply()
        alive.append(weakref.ref(message))
        return message

    carrier = ((client, make()) for client in range(5))
    for message in check(list(range(5))).in_client_order(carrier):
        del message
        gc.collect()
        assert not any(reference() for reference in alive)
    assert len(alive) == 5


class TestCheckFailures:
    FAILURES = tuple(ClientFailure(client, f"reason of {client}") for client in range(10))

    @pytest.mark.parametrize(
        ("failed", "max_fraction"), [(0, 0.0), (1, 0.1), (5, 0.5), (9, 0.9), (9, 0.99), (1, 0.5)]
    )
    def test_tolerable(self, failed: int, max_fraction: float) -> None:
        check_failures(self.FAILURES[:failed], 10, max_fraction, 3)

    @pytest.mark.parametrize(("failed", "max_fraction"), [(1, 0.0), (2, 0.1), (6, 0.5), (10, 0.99)])
    def test_not_tolerable(self, failed: int, max_fraction: float) -> None:
        with pytest.raises(ClientFailureError) as raised:
            check_failures(self.FAILURES[:failed], 10, max_fraction, 3)
        message = str(raised.value)
        assert message.startswith(f"round 3: {'all' if failed == 10 else f'{failed} of 10'} clients failed")
        assert "reason of 0" in message
        assert ", ".join(str(client) for client in range(failed)) in message

    def test_a_single_client_that_fails_is_all(self) -> None:
        with pytest.raises(ClientFailureError, match="all clients failed"):
            check_failures(self.FAILURES[:1], 1, 0.99, 1)
