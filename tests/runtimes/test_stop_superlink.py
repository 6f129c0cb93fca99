"""Stopping a SuperLink: the one on the port, and only that."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import runtimes.stop_superlink
from common.errors import UserError
from runtimes.stop_superlink import PROGRAM, main, stop, superlinks

PROGRAM_THAT_WAITS = """
import signal, sys, time
if "--is-followed" in sys.argv:  # as one whose run's log somebody follows
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(flush=True)
time.sleep(60)
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program of the SuperLink's name, which only waits."""
    script = tmp_path / PROGRAM
    script.write_text(PROGRAM_THAT_WAITS)
    processes: list[subprocess.Popen[bytes]] = []

    def begin(*options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(script), "--insecure", *options]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert processes[-1].stdout is not None
        processes[-1].stdout.readline()
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def test_the_one_on_the_port_is_stopped(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = start("--port", "45991"), start("--port=45992"), start()
    ports = superlinks()
    assert [ports[process.pid] for process in (first, second, third)] == [45991, 45992, 8000]
    assert main(["--port", "45992"]) == 0
    assert second.wait(timeout=10) == -15
    assert first.poll() is None
    assert third.poll() is None
    assert f"stopped flower-superlink, process {second.pid}" in capsys.readouterr().out


def test_one_whose_log_is_followed_is_stopped_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start("--port", "45996", "--is-followed")
    signals = ((signal.SIGTERM, 0.3), (signal.SIGINT, 10.0))
    monkeypatch.setattr(runtimes.stop_superlink, "_SIGNALS", signals)
    assert main(["--port", "45996"]) == 0
    assert process.wait(timeout=10) == -signal.SIGINT
    monkeypatch.setattr(runtimes.stop_superlink, "_SIGNALS", signals[:1])
    process = start("--port", "45996", "--is-followed")
    with pytest.raises(UserError, match=f"process {process.pid}, does not end: kill -9 {process.pid}"):
        stop(45996)


def test_where_there_is_none_the_others_are_named(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    start("--port", "45993")
    assert main(["--port", "45994"]) == 2
    error = capsys.readouterr().err
    assert "no flower-superlink of this user listens on port 45994" in error
    assert "45993" in error


def test_a_program_that_only_names_it_is_left_alone(tmp_path: Path) -> None:
    code = "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, PROGRAM, "--port", "45995"])
    try:
        assert process.pid not in superlinks()
    finally:
        process.kill()
        process.wait()
