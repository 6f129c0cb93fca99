"""Stand-in for Flower's programs, such as ``flwr-clientapp``: ``stand_in.py SOCKET PROGRAM ARGUMENTS...``.

It ends together with the process that the resident one forked for it, with the same exit status; it forwards
its signals to that process, which does not outlive it. It imports next to nothing. If nothing answers at the
socket, it becomes the program itself.
"""

import contextlib
import json
import os
import signal
import socket
import sys

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LENGTH_BYTES, _PID_BYTES, _KILLED = 8, 4, 137


def main(place: str, program: str, *arguments: str) -> int:
    """Return the exit code of the process for a message."""
    request = {"arguments": [program, *arguments], "environment": dict(os.environ), "folder": os.getcwd()}
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(place)
            socket.send_fds(connection, [len(content).to_bytes(_LENGTH_BYTES, "big")], [0, 1, 2])
            connection.sendall(content)
            pid = int.from_bytes(connection.recv(_PID_BYTES), "big")
        except OSError:
            pid = 0
        if pid == 0:  # no process was started
            os.execv(program, [program, *arguments])

        def pass_on(number: int, _frame: object) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

        for number in _ENDING:
            signal.signal(number, pass_on)
        code = connection.recv(1)
    return code[0] if code else _KILLED


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
