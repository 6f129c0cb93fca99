"""Flower's own programs as child processes: their location and environment, and a guard that ends them all.

Flower 1.39's programs start further programs, partly in separate sessions, and not all of these end with
their parent; see ``docs/flower-notes.md``.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Self

from common.errors import UserError
from common.flower_control import SuperLink
from runtimes.app_copy import copy_app
from runtimes.resident import CLIENTAPP, EXECUTOR, SERVERAPP, resident_programs
from server.interrupt import STOP_SIGNALS

CONNECTION = "local"
MARK = "FLOWERBED_FEDERATION"  # marks the environment of processes that a guard may kill
ADVICE = "All processes are stopped (SuperNodes end by themselves once their SuperLink is gone)"
GRACE_SECONDS = 3.0
KILL_SECONDS = 10.0


class FederationError(Exception):
    """The federation did not finish its run; the message says which process failed and how."""


def flower_environment(home: Path) -> dict[str, str]:
    """Return the environment of every process of a federation, with `home` instead of ``~/.flwr``."""
    unproxied = ",".join(filter(None, ["127.0.0.1", os.environ.get("no_proxy"), os.environ.get("NO_PROXY")]))
    return {
        **program_environment(),
        MARK: str(home),
        "FLWR_HOME": str(home),
        "NO_PROXY": unproxied,
        "no_proxy": unproxied,
    }


def program_environment() -> dict[str, str]:
    """Return an environment in which Flower's programs are found and stay off the network."""
    # Flower starts its own programs by their bare names; the right ones are next to this Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if shutil.which("flwr", path=path) is None:
        raise UserError(f"Flower is not installed for {sys.executable}; install the project's dependencies")
    return {
        **os.environ,
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Otherwise every run installs its dependencies, including torch, into a new environment.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        # A job waits up to this long before its process starts; the default is one second.
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
    }


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for bound in sockets:
            bound.bind(("127.0.0.1", 0))
        return [bound.getsockname()[1] for bound in sockets]


def split_address(text: str, option: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, the value of an option."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 2**16:
        raise UserError(f"{option}: '{text}' is not HOST:PORT, such as server.example:9092")
    return host.strip("[]"), int(port)


def check_free(host: str, port: int, option: str) -> None:
    """Refuse an address at which Flower's programs cannot listen; they would end with a traceback."""
    if not 0 < port < 2**16:
        raise UserError(f"{option}: ports go from 1 to 65535, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
    except OSError as error:
        raise UserError(
            f"{option}: cannot listen on port {port} of {host} ({error.strerror}): if another SuperLink or"
            " node has it, stop that, or choose another port"
        ) from None


class FlowerProcesses:
    """Processes that share a temporary ``FLWR_HOME``, each with its own log file.

    Leaving the context stops them and everything that they started. So does the end of this process, even by
    SIGKILL: a guard process waits for it.

    Parameters
    ----------
    log_directory : Path
        The folder of the log files, ``<name>.log``.
    """

    def __init__(self, log_directory: Path) -> None:
        self._log_directory = log_directory
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._copies: dict[Path, Path] = {}
        self._resident = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._log_directory.mkdir(parents=True, exist_ok=True)
        self._home = Path(tempfile.mkdtemp(prefix="flower-home-"))
        try:
            self._environment = flower_environment(self._home)
            self._start_guard()
        except BaseException:  # from here on the guard removes the folder
            shutil.rmtree(self._home, ignore_errors=True)
            raise
        return self

    def _start_guard(self) -> None:
        watched_end, self._lifeline = os.pipe()
        self._guard = os.fork()
        if self._guard == 0:
            os.close(self._lifeline)
            _guard_processes(watched_end, self._home)
        os.close(watched_end)

    def __exit__(self, *_error: object) -> None:
        self._resident.close()
        os.close(self._lifeline)
        os.waitpid(self._guard, 0)

    @property
    def home(self) -> Path:
        """The processes' folder instead of ``~/.flwr``; other users cannot read it."""
        return self._home

    def connect(self, address: str, authority: Path | None = None) -> None:
        """Configure the address of the SuperLink named ``CONNECTION`` for the ``flwr`` command.

        With the certificate of its authority the connection is encrypted.
        """
        self._address, self._authority = address, authority
        trust = f"root-certificates = {json.dumps(str(authority))}" if authority else "insecure = true"
        (self._home / "config.toml").write_text(f'[superlink.{CONNECTION}]\naddress = "{address}"\n{trust}\n')

    def keep_programs(self) -> None:
        """Fork programs of SuperLinks and SuperNodes started later from a process that has imported torch."""
        kept = resident_programs(self._environment, self._home, (CLIENTAPP, SERVERAPP, EXECUTOR))
        self._environment = self._resident.enter_context(kept)

    def copy_of(self, app: Path) -> Path:
        """Return a copy of an app, made once, for ``flwr run``."""
        if app not in self._copies:
            self._copies[app] = copy_app(app, self._home / "copies" / str(len(self._copies)))
        return self._copies[app]

    def log_path(self, name: str) -> Path:
        """Return the file that holds the output of the process `name`."""
        return self._log_directory / f"{name}.log"

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program of Flower, given by its name and arguments."""
        with self.log_path(name).open("wb") as log:
            return subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_service(self, name: str, command: Sequence[str]) -> None:
        """Start a program that must run until the end."""
        self._services[name] = self.start(name, command)

    def superlink(self) -> SuperLink:
        """Return a connection to the SuperLink of `connect`."""
        return SuperLink(self._address, self._authority)

    def check_services(self) -> None:
        """Raise if a service has ended."""
        for name, process in self._services.items():
            if (code := process.poll()) is not None:
                log = self.log_path(name)
                last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                raise FederationError(
                    f"{name} ended early, exit code {code}. The end of {log}:\n{last_lines}\n{ADVICE}"
                )

    def wait_for_port(self, port: int) -> None:
        """Wait until a service listens on `port`."""
        while True:
            self.check_services()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.1)


def _guard_processes(lifeline: int, home: Path) -> NoReturn:
    """Wait until the other end of `lifeline` closes, on purpose or not; then stop the users of `home`."""
    try:
        os.setsid()  # so that the terminal's Ctrl-C reaches only the guarded process
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        os.read(lifeline, 1)
        sessions: set[int] = set()
        _signal_until_gone(home, sessions, signal.SIGTERM, GRACE_SECONDS)
        _signal_until_gone(home, sessions, signal.SIGKILL, KILL_SECONDS)
        shutil.rmtree(home, ignore_errors=True)
    finally:
        os._exit(0)


def _signal_until_gone(home: Path, sessions: set[int], number: signal.Signals, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    signalled: set[int] = set()
    while (living := _processes_of(home, sessions)) and time.monotonic() < deadline:
        for pid in living - signalled:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        signalled |= living
        time.sleep(0.05)


def _processes_of(home: Path, sessions: set[int]) -> set[int]:
    """Find the living processes in the sessions of those that bear the mark of `home`.

    Every process started here leads its own session, and the programs that it starts inherit the mark. Some
    of Ray's overwrite their environment, so `sessions` keeps the known sessions.
    """
    mark = f"{MARK}={home}\0".encode()
    session_of: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _parent, _group, session = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:4]
            if state == b"Z":
                continue
            session_of[int(folder.name)] = int(session)
            if mark in (folder / "environ").read_bytes():
                sessions.add(int(session))
    return {pid for pid, session in session_of.items() if session in sessions}
