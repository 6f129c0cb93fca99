"""Stop a SuperLink of this user, such as the one that ``flwr run . local`` leaves running.

``python -m runtimes.stop_superlink [--port PORT]``; exit code 0 if it has ended, 2 if there is none.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.command_line import Parser, guarded
from common.errors import UserError

PROGRAM = "flower-superlink"
LOCAL_PORT = int(os.environ.get("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "39091"))  # of `flwr run . local`
DEFAULT_PORT = 8000  # default of flower-superlink
# After SIGTERM it waits for clients that follow the log of a run that has stopped; only SIGINT ends it then.
_SIGNALS = ((signal.SIGTERM, 5.0), (signal.SIGINT, 10.0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    return guarded(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    for pid in stop(options.port):
        print(f"stopped {PROGRAM}, process {pid}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m runtimes.stop_superlink", description=__doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=LOCAL_PORT,
        help="port of its HTTP API (default: %(default)s, that of `flwr run . local`)",
    )
    return parser


def stop(port: int) -> list[int]:
    """Stop this user's SuperLinks on a port, wait until they have ended, and return their process ids.

    A run that is still in progress ends too.

    Raises
    ------
    UserError
        If there is none, or one does not end.
    """
    found = superlinks()
    pids = sorted(pid for pid, listens_on in found.items() if listens_on == port)
    if not pids:
        ports = ", ".join(map(str, sorted(set(found.values()))))
        there = f"; there are some on: {ports}" if found else " (nor on any other)"
        raise UserError(f"no {PROGRAM} of this user listens on port {port}{there}: choose with --port")
    left = set(pids)
    for number, seconds in _SIGNALS:
        if not (left := _signal_and_wait(left, number, seconds)):
            return pids
    raise UserError(f"{PROGRAM}, process {min(left)}, does not end: kill -9 {min(left)} ends it at once")


def _signal_and_wait(pids: Iterable[int], number: signal.Signals, seconds: float) -> set[int]:
    """Send a signal to processes; return those still alive after some seconds."""
    for pid in superlinks().keys() & set(pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + seconds
    while (left := superlinks().keys() & set(pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def superlinks() -> dict[int, int]:
    """Return process id → port of the SuperLinks that this user runs on this machine."""
    if not Path("/proc/self/cmdline").exists():
        raise UserError(f"this system has no /proc: find {PROGRAM} with your system's tools and end it")
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if folder.stat().st_uid == os.getuid():
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if _is_superlink(command):
                    found[int(folder.name)] = _port(command)
    return found


def _is_superlink(command: Sequence[str]) -> bool:
    """Return whether a command line is the program's: itself, or a script that Python runs."""
    return any(Path(part).name == PROGRAM for part in command[:2])


def _port(command: Sequence[str]) -> int:
    for option, value in zip(command, [*command[1:], ""], strict=True):
        if option == "--port":
            return int(value)
        if option.startswith("--port="):
            return int(option.partition("=")[2])
    return DEFAULT_PORT


if __name__ == "__main__":
    sys.exit(main())
