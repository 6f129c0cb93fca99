import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from server.interrupt import stop_between_rounds, stop_between_runs


@pytest.fixture(autouse=True)
def _python_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_stops(number: signal.Signals) -> None:
    notes: list[str] = []
    with stop_between_rounds(notes.append) as request:
        assert not request.requested
        signal.raise_signal(number)
        assert request.requested
        assert len(notes) == 1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert len(notes) == 1


@pytest.mark.parametrize("error", [None, ValueError("x")])
def test_the_handlers_come_back(error: Exception | None) -> None:
    caught: list[Exception] = []
    try:
        with stop_between_rounds(print):
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            if error:
                raise error
    except ValueError as raised:
        caught.append(raised)
    assert bool(caught) is bool(error)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_handler_of_somebody_else_stays() -> None:
    received: list[int] = []

    def foreign(number: int, frame: Any) -> None:
        received.append(number)

    signal.signal(signal.SIGINT, foreign)
    with stop_between_rounds(print) as request:
        assert signal.getsignal(signal.SIGINT) is foreign
        signal.raise_signal(signal.SIGINT)
        assert not request.requested
    assert received == [signal.SIGINT]


def test_outside_the_main_thread_nothing_is_touched() -> None:
    entered: list[bool] = []

    def work() -> None:
        with stop_between_rounds(print) as request:
            entered.append(request.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [False]


def test_over_several_runs_the_request_outlives_the_run() -> None:
    notes: list[str] = []
    with stop_between_runs() as outer:
        for name in ("first", "second"):
            with stop_between_rounds(lambda text, name=name: notes.append(f"{name}: {text[:8]}")) as inner:
                assert inner is outer
                if name == "second":
                    signal.raise_signal(signal.SIGINT)
            assert outer.requested is (name == "second")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert notes == ["second: stopping"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_between_two_runs_the_first_signal_stops(number: signal.Signals) -> None:
    with stop_between_runs() as outer:
        with stop_between_rounds(print):
            pass
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert not outer.requested


def test_nohup_stays() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_between_rounds(print) as request:
        signal.raise_signal(signal.SIGHUP)
        assert not request.requested
