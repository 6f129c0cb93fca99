"""Start Flower's programs without importing torch and Flower again.

A SuperNode starts the program ``flwr-clientapp`` for each message, which takes seconds to import torch and
Flower. Here a resident process imports them once and forks a process for each message. Flower finds a
stand-in for the program first on its ``PATH``, which passes its arguments to the resident process, or runs
the program itself if no resident process answers. The resident process imports nothing of the project: as
usual, the process of a message imports it from the run's app, which is unpacked for the first message only.

The same holds for ``flower-superexec``, which starts the others and of which the SuperLink and each SuperNode
have one, and for ``flwr-serverapp``, which a SuperLink starts once per run, and again if it shows no sign of
life within 30 seconds: endlessly, on a machine so busy that the imports take longer.
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
    """Keep a resident process; yield the environment for processes that start the programs it replaces.

    Parameters
    ----------
    environment : Mapping[str, str]
        The environment without the stand-ins.
    folder : Path
        The folder of the stand-ins and the socket; must not be writable by other users.
    programs : Sequence[str], optional
        The programs to replace.
    """
    found = {name: shutil.which(name, path=environment["PATH"]) for name in programs}
    if sys.platform != "linux" or None in found.values():  # elsewhere torch is not safe to fork
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
