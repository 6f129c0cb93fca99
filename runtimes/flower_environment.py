"""Flower's own programs as child processes: where they are, what they see, and that none outlives us.

Flower 1.39's programs start further programs, partly in sessions of their own; ``docs/flower-notes.md``
says which, and what ends them.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from common.errors import UserError

CONNECTION = "local"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 3.0
KILL_SECONDS = 10.0

# Options of Linux's prctl(2).
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class FederationError(Exception):
    """The federation did not finish its run; the message says which process failed and how."""


def flower_environment(home: Path) -> dict[str, str]:
    """Return the environment of every Flower process, with `home` in place of ``~/.flwr``."""
    # Flower starts its own programs by their bare names; the ones to take stand beside this Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if shutil.which("flwr", path=path) is None:
        raise UserError(f"Flower is not installed for {sys.executable}; install the project's dependencies")
    return {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Otherwise every run installs its dependencies, torch included, into a fresh environment.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        # A job waits up to this long before its process starts; the default is one second.
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
        "PATH": path,
        "NO_PROXY": ",".join(filter(None, ["127.0.0.1", os.environ.get("NO_PROXY")])),
        "PYTHONUNBUFFERED": "1",
    }


def write_connection(home: Path, address: str) -> None:
    """Tell the ``flwr`` command where the SuperLink named ``CONNECTION`` listens."""
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n'
        f'[superlink.{CONNECTION}]\naddress = "{address}"\ninsecure = true\n'
    )


def free_ports(count: int) -> list[int]:
    """Return `count` different ports on which nothing listens now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [bound.getsockname()[1] for bound in sockets]


class FlowerProcesses:
    """Processes that log to files of their own; leaving the context stops them and all they started.

    Parameters
    ----------
    environment : dict[str, str]
        The environment of every process.
    log_directory : Path
        Where ``<name>.log`` of every process is written.
    """

    def __init__(self, environment: dict[str, str], log_directory: Path) -> None:
        self.environment = environment
        self._log_directory = log_directory
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._not_ours = _living_descendants()

    def __enter__(self) -> Self:
        self._log_directory.mkdir(parents=True, exist_ok=True)
        # Orphans come to us instead of to init, so that stopping finds the detached ones too.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not leave processes behind.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
        self._signal_until_gone(signal.SIGTERM, GRACE_SECONDS)
        self._signal_until_gone(signal.SIGKILL, KILL_SECONDS)
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def log_path(self, name: str) -> Path:
        """Return the file that holds the output of the process `name`."""
        return self._log_directory / f"{name}.log"

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program of Flower, given as its name and its arguments."""
        with self.log_path(name).open("wb") as log:
            return subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=functools.partial(_prctl, _PR_SET_PDEATHSIG, signal.SIGKILL),
            )

    def start_service(self, name: str, command: Sequence[str]) -> None:
        """Start a program that has to run until the end."""
        self._services[name] = self.start(name, command)

    def check_services(self) -> None:
        """Raise if a service has ended."""
        for name, process in self._services.items():
            if (code := process.poll()) is not None:
                log = self.log_path(name)
                last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                raise FederationError(
                    f"{name} ended early, exit code {code}. The end of {log}:\n{last_lines}"
                )

    def wait_for_port(self, port: int) -> None:
        """Wait until a service listens on `port`."""
        while True:
            self.check_services()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.1)

    def _signal_until_gone(self, number: signal.Signals, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        signalled: set[int] = set()
        while (living := self._living()) and time.monotonic() < deadline:
            for pid in living - signalled:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            signalled |= living
            time.sleep(0.05)

    def _living(self) -> set[int]:
        services = {process.pid for process in self._services.values() if process.poll() is None}
        return services | (_living_descendants() - self._not_ours)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _living_descendants() -> set[int]:
    """Return this process's children, their children and so on (Linux only; elsewhere nothing)."""
    parent_of: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                parent_of[int(stat.parent.name)] = int(parent)
    found = {os.getpid()}
    while deeper := {pid for pid, parent in parent_of.items() if parent in found} - found:
        found |= deeper
    return found - {os.getpid()}
