import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.command_line import end_as_by_ctrl_c, guarded
from common.defaults import PROJECT_ROOT
from common.errors import UserError


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a\nb"), 1, "error: [Errno 28] No space left on"),
        (UserError("wrong"), 2, "error: wrong\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_one_line(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> int:
        raise error

    assert guarded(run) == code
    output = capsys.readouterr().err
    assert output.startswith(said)
    assert output.count("\n") == bool(said)


def test_closed_streams_are_opened_on_nothing(tmp_path: Path) -> None:
    program = (
        "from common.command_line import show_warnings_as_lines\n"
        "show_warnings_as_lines()\n"
        f"file = open({str(tmp_path / 'result')!r}, 'w')\n"
        "print('lost', flush=True)\n"
        "file.write(str(file.fileno() > 2))\n"
    )
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(closed, cwd=PROJECT_ROOT, check=False).returncode == 0
    assert (tmp_path / "result").read_text() == "True"


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
