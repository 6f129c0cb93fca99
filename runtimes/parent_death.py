"""Start a program that ends with its parent, even if that is killed: ``parent_death.py PID PROGRAM ...``.

The program replaces this process, which imports next to nothing, and gets SIGTERM when the process `PID`,
its parent, has ended (Linux).
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def ending_with_this_process(command: Sequence[str]) -> list[str]:
    """Return a command that ends when this process ends; it has to be started by the main thread."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(parent: str, program: str, *arguments: str) -> None:
    """Become the program."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before the call
        sys.exit(1)
    os.execvp(program, [program, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
