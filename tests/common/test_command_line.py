import os
import signal
from collections.abc import Iterator

import pytest

from common.command_line import end_as_by_ctrl_c, guarded


@pytest.fixture
def handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.signal(number, signal.SIG_DFL)) for number in numbers]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_what_was_begun(number: signal.Signals) -> None:
    ended: list[str] = []

    def run() -> int:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            ended.append("cleaned up")
        return 0

    end_as_by_ctrl_c()
    assert guarded(run) == 130
    assert ended == ["cleaned up"]


@pytest.mark.usefixtures("handlers")
def test_nohup_is_respected() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_as_by_ctrl_c()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
