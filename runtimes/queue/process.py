"""Start, watch and gracefully end the process of a run."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from runtimes.queue.records import Records, try_lock
from runtimes.queue.runs import Progress, Run
from server.interrupt import STOP_SIGNALS

_POLL_SECONDS = 0.5
# For libraries that size thread pools by cores; torch gets resources.threads-per-worker from the run.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Stop:
    """Ctrl-C, SIGTERM and SIGHUP, passed to the process of the run in progress."""

    def __init__(self) -> None:
        self.requested = False
        self._process: subprocess.Popen[bytes] | None = None

    def listen(self) -> None:
        """Install the handlers; an ignored signal, such as SIGHUP under nohup, stays ignored."""
        for number in STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)

    def watch(self, process: subprocess.Popen[bytes] | None) -> None:
        """Set the process to which signals are forwarded, including one that has arrived already."""
        self._process = process
        if process and self.requested:
            end_gently(process.pid)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if self._process and self._process.returncode is None:
            end_gently(self._process.pid)


def end_gently(pid: int) -> None:
    """Ask a run to commit and end after its round; a second request ends it at once."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def end_left_over(records: Records, stop: Stop, say: Callable[[str], None]) -> None:
    """End the process left behind by a killed queue, so that there are never two."""
    with records.run_lock() as lock:
        if try_lock(lock):
            return
        name, pid = records.running()
        say(f"{name or 'a run'} of an earlier queue is still there: it commits and ends first")
        if pid:
            end_gently(pid)
        while not stop.requested and not try_lock(lock):
            time.sleep(_POLL_SECONDS)


def execute(run: Run, records: Records, nice: int, stop: Stop) -> tuple[int, str]:
    """Run to the end, or until there is reason to give up.

    Returns
    -------
    int
        The exit code; negative for a signal.
    str
        Why it was given up; empty if it was not.
    """
    with records.log_file(run).open("ab") as log, records.run_lock() as lock:
        while not try_lock(lock):  # another process is checking whether it is locked
            time.sleep(0.01)
        records.note_running(run)
        process = subprocess.Popen(
            run.command(),
            cwd=run.entry.code_directory,
            env={**os.environ, **_ONE_THREAD},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],
            start_new_session=True,  # Ctrl-C reaches it only through this process
        )
        records.note_running(run, process.pid)
    _step_back(process.pid, min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice))
    stop.watch(process)
    try:
        return _wait(process, run)
    finally:
        stop.watch(None)


def _step_back(pid: int, nice: int) -> None:
    """Set the niceness of a run, both within its session and among sessions."""
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    # With autogrouping, Linux shares processors among sessions first, then within a session (sched(7)).
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def _wait(process: subprocess.Popen[bytes], run: Run) -> tuple[int, str]:
    metrics, seen = run.path / "metrics.csv", 0.0
    reason = ""
    while True:
        try:
            return process.wait(_POLL_SECONDS), reason
        except subprocess.TimeoutExpired:
            pass
        rule = run.entry.give_up
        if rule is None or reason or not metrics.exists() or metrics.stat().st_mtime == seen:
            continue
        seen = metrics.stat().st_mtime
        if reason := Progress(run.path).reason_to_give_up(rule):
            end_gently(process.pid)
