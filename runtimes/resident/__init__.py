"""Programs of Flower that need not import torch and Flower again.

A SuperNode starts the program ``flwr-clientapp`` for each message, which takes seconds to import torch and
Flower. Here a resident process imports them once and forks a process for each message. Flower finds a
stand-in of the program first on its ``PATH``, which hands its arguments to the resident process; without one
that answers it runs the program itself. The resident process imports nothing of the project: a message's
process takes that from the app that the run came with, as ever, which it unpacks for the first message only.

So it does for ``flower-superexec``, which starts the others and of which SuperLink and SuperNodes have one
each, and for ``flwr-serverapp``, which a SuperLink starts once a run, and again if that gives no sign of life
within 30 seconds: without end, on a machine so busy that importing takes longer.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CLIENTAPP, SERVERAPP, EXECUTOR = "flwr-clientapp", "flwr-serverapp", "flower-superexec"
_HERE = Path(__file__).parent


@contextlib.contextmanager
def resident_programs(
    environment: Mapping[str, str], folder: Path, programs: Sequence[str] = (CLIENTAPP, EXECUTOR)
) -> Iterator[dict[str, str]]:
    """Keep a resident process; yield the environment of those who start the programs that it stands for.

    Parameters
    ----------
    environment : Mapping[str, str]
        That of the programs without it.
    folder : Path
        Where the stand-ins and the socket are; nobody else may be able to write there.
    programs : Sequence[str], optional
        Which it stands for.
    """
    found = {name: shutil.which(name, path=environment["PATH"]) for name in programs}
    if sys.platform != "linux" or None in found.values():  # elsewhere torch and forks do not go together
        yield dict(environment)
        return
    socket, stand_ins = folder / "resident", folder / "programs"
    stand_ins.mkdir()
    for name, program in found.items():
        call = [sys.executable, "-I", "-S", str(_HERE / "stand_in.py"), str(socket), str(program)]
        (stand_ins / name).write_text(f'#!/bin/sh\nexec {shlex.join(call)} "$@"\n')
        (stand_ins / name).chmod(0o700)
    command = [sys.executable, "-P", str(_HERE / "server.py"), str(socket), *programs]
    with subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            yield {**environment, "PATH": os.pathsep.join([str(stand_ins), environment["PATH"]])}
        finally:
            process.kill()  # if this process is killed instead, its standard input ends
