"""The command of a node: wrong command lines, and a SuperNode that ends with it."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest

from runtimes.admission import Admission
from runtimes.credentials.folder import Credentials
from runtimes.node import Look, _Ended, _run_once, _run_until_asked, main
from server.interrupt import STOP_SIGNALS


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    credentials = Credentials(tmp_path_factory.mktemp("ours"))
    credentials.make([], 5)
    credentials.add_node("a")
    return credentials


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--superlink", "x", "--partition-id", "0"], "'x' is not HOST:PORT"),
        (["--superlink", "x:0", "--partition-id", "0"], "'x:0' is not HOST:PORT"),
        (["--superlink", "127.0.0.1:9", "--partition-id", "2"], "ids go from 0 to --num-partitions - 1 = 1"),
        (["--superlink", "127.0.0.1:9", "--partition-id", "-1"], "--partition-id has to be 0 or more"),
        (["--superlink", "127.0.0.1:9", "--partition-id", "x"], "invalid int value"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    ours: Credentials, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([str(ours.node("a")), "--num-partitions", "2", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_a_port_that_is_in_use_and_data_that_are_missing_are_named(
    ours: Credentials, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place = ["--superlink", "127.0.0.1:9", "--partition-id", "0", "--num-partitions", "1"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        missing = ["--data-root", str(tmp_path / "none")]
        assert main([str(ours.node("a")), *place, "--port", port, *missing]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"error: --port: cannot listen on port {port} of 127.0.0.1 (Address already")
    assert output.err.count("\n") == 1
    assert output.out == f"there is no folder {tmp_path / 'none'}: --data-root needs it before a run begins\n"


def printing(*lines: str, seconds: float = 0) -> list[str]:
    program = f"import time\nfor line in {lines!r}: print(line, flush=True)\ntime.sleep({seconds})"
    return [sys.executable, "-c", program]


def run_once(command: list[str], look: Look = lambda: None) -> _Ended:
    return _run_once(command, os.environ, look)


def test_output_is_passed_on_until_something_fails(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["Traceback (most recent call last):", "  details = 'Invalid node ID'", "x"]
    ended = run_once(printing("INFO: one", *lines))
    assert ended == (0, False, "", "\n".join([*lines, ""]))
    assert capsys.readouterr().out == "INFO: one\n"


UNTRUSTED = "ERROR :     SSL/TLS handshake error detected."


def test_a_supernode_that_cannot_trust_its_superlink_any_more_is_ended() -> None:
    ended = run_once(printing(UNTRUSTED, seconds=60), lambda: ("another authority", False))
    assert ended == (-signal.SIGTERM, False, "another authority", "")


def test_an_expired_certificate_is_reported_once_and_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter([None, ("it expired", True), ("it expired", True)])
    assert run_once(printing(*[UNTRUSTED] * 3), lambda: next(answers))[:3] == (0, False, "")
    assert capsys.readouterr().err == "it expired; this node continues when that is done\n"


class Refusing(Admission):
    """A SuperLink that refuses to say whether it knows the key."""

    def __init__(self) -> None:
        self.address = "server:9092"

    def is_known(self) -> bool:
        raise ConnectionError("the clocks differ")


def test_a_supernode_that_ends_unasked_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run_until_asked(printing("INFO: one"), os.environ, Refusing()) == 1
    assert capsys.readouterr().err == (
        "error: the SuperNode ended, exit code 0: the SuperLink at server:9092 does not take this node:"
        " the clocks differ\n"
    )


SLEEPS = [sys.executable, "-c", "import time; print('there', flush=True); time.sleep(60)"]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_the_supernode_too(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    code, asked, _, _ = run_once(SLEEPS)
    timer.join()
    assert asked
    assert code in (1, -signal.SIGINT, -signal.SIGTERM)
    assert signal.getsignal(number) == before


def test_nohup_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGHUP))
        timer.start()
        assert run_once(printing(seconds=1))[:2] == (0, False)
    finally:
        signal.signal(signal.SIGHUP, before)
