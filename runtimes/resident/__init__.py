"""ClientApp processes that need not import torch again for every message.

A SuperNode starts the program ``flwr-clientapp`` for each message, which takes seconds to import torch and
Flower. Here a resident process imports them once and forks a process for each message. Flower finds a
stand-in of the program first on its ``PATH``, which hands its arguments to the resident process; without one
that answers it runs the program itself. The resident process imports nothing of the project: a message's
process takes that from the app that the run came with, as ever, which it unpacks for the first message only.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PROGRAM = "flwr-clientapp"
_HERE = Path(__file__).parent


@contextlib.contextmanager
def resident_clientapps(environment: Mapping[str, str], folder: Path) -> Iterator[dict[str, str]]:
    """Keep a resident process; yield the environment of programs whose messages it is to answer.

    Parameters
    ----------
    environment : Mapping[str, str]
        That of the programs without it.
    folder : Path
        Where the stand-in and the socket are; nobody else may be able to write there.
    """
    program = shutil.which(PROGRAM, path=environment["PATH"])
    if sys.platform != "linux" or program is None:  # elsewhere torch and forks do not go together
        yield dict(environment)
        return
    socket, programs = folder / "resident", folder / "programs"
    programs.mkdir()
    stand_in = programs / PROGRAM
    call = [sys.executable, "-I", "-S", str(_HERE / "stand_in.py"), str(socket), program]
    stand_in.write_text(f'#!/bin/sh\nexec {shlex.join(call)} "$@"\n')
    stand_in.chmod(0o700)
    command = [sys.executable, "-P", str(_HERE / "server.py"), str(socket)]
    with subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield {**environment, "PATH": os.pathsep.join([str(programs), environment["PATH"]])}
        finally:
            process.kill()  # if this process is killed instead, its standard input ends
