"""The resident process: ``python -P server.py SOCKET PROGRAM...``, until its standard input ends."""

import atexit
import contextlib
import fcntl
import functools
import gc
import hashlib
import importlib
import io
import json
import os
import random
import select
import signal
import socket
import sys
import threading
import tomllib
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

# Third-party imports of the apps of any run; a missing one fails later, as without this process.
PRELOADED = ("torch", "numpy", "numpy.random", "pydantic", "safetensors.torch", "PIL.Image")


class Program(NamedTuple):
    """A program of Flower: its entry function and module, and further imports."""

    module: str
    function: str
    further: tuple[str, ...] = ()


PROGRAMS = {
    "flwr-clientapp": Program(
        "flwr.supernode.cli",
        "flwr_clientapp",
        ("flwr.supernode.runtime.run_clientapp", "flwr.clientapp", "httpcore", "h11"),
    ),
    "flwr-serverapp": Program(
        "flwr.superlink.cli", "flwr_serverapp", ("flwr.superlink.runtime.run_serverapp", "flwr.serverapp")
    ),
    "flower-superexec": Program("flwr.supercore.cli", "flower_superexec"),
}
Push = Callable[[str, bytes], None]
LENGTH_BYTES, PID_BYTES, CODE_BYTES = 8, 4, 1


def main(place: str, *programs: str) -> int:
    """Fork a process for each request."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(128)  # requests wait until the imports are done
        chosen = [PROGRAMS[name] for name in programs]
        for module in (*(name for each in chosen for name in (each.module, *each.further)), *PRELOADED):
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        gc.freeze()  # garbage collection in the children would copy the shared pages
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are not waited for
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return 0
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _leave(_guarded(connection))


def _guarded(connection: socket.socket) -> int:
    try:
        return _answer(connection)
    except BaseException:
        traceback.print_exc()
        return 1


def _leave(code: int) -> NoReturn:
    """End this process without the interpreter's teardown, which takes longer than a job (1.4 s)."""
    threads: Any = threading
    with contextlib.suppress(Exception):
        threads._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def _answer(connection: socket.socket) -> int:
    """Become the requested process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    header, files, _, _ = socket.recv_fds(connection, LENGTH_BYTES, 3)
    request = json.loads(_received(connection, int.from_bytes(header, "big")))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = request["arguments"]
    random.seed()  # otherwise all children would draw the same numbers
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    connection.sendall(os.getpid().to_bytes(PID_BYTES, "big"))
    program = os.path.basename(sys.argv[0])
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as name:
        name.write(program)  # the name shown by ps
    ended = threading.Event()
    threading.Thread(target=_end_with_stand_in, args=(connection, ended), daemon=True).start()
    code = _run(program)
    ended.set()
    with contextlib.suppress(OSError):  # the stand-in may have been killed
        connection.sendall((code & 0xFF).to_bytes(CODE_BYTES, "big"))
    return code


def _end_with_stand_in(connection: socket.socket, ended: threading.Event) -> None:
    """Kill this process when its stand-in is killed, as the program itself would have been."""
    with contextlib.suppress(OSError):
        connection.recv(1)  # returns only when the connection closes
    if not ended.is_set():
        os.kill(os.getpid(), signal.SIGKILL)


def _run(program: str) -> int:
    if program == "flwr-clientapp":
        _mend(importlib.import_module("flwr.supernode.runtime.run_clientapp"))
    try:
        getattr(importlib.import_module(PROGRAMS[program].module), PROGRAMS[program].function)()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except Exception:  # like an uncaught exception, so that the stand-in ends likewise
        traceback.print_exc()
        return 1
    return 0


def _mend(clientapp: Any) -> None:
    """Patch the parts of Flower's ClientApp program that are too slow or lose replies."""
    clientapp.install_from_fab = functools.partial(unpacked, clientapp.install_from_fab)
    clientapp.make_push_object_fn_protobuf = functools.partial(
        tolerant, clientapp.make_push_object_fn_protobuf
    )


def unpacked(unpack: Callable[..., Path], app: bytes, **options: bool) -> Path:
    """Return the folder of an app; unpack it only if the folder is missing.

    Flower unpacks it for each message, and deletes an existing folder of the app first. A node must also not
    use the folder of an app while another node on the machine fills it.
    """
    from flwr.common.config import get_metadata_from_config, get_project_dir

    with zipfile.ZipFile(io.BytesIO(app)) as archive:
        config = tomllib.loads(archive.read("pyproject.toml").decode())
    folder = get_project_dir(*get_metadata_from_config(config), hashlib.sha256(app).hexdigest())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return folder if folder.exists() else unpack(app, **options)


def tolerant(make: Callable[..., Push], *arguments: Any, **options: Any) -> Push:
    """Return a function that sends a part of a reply to the SuperNode and tolerates its refusal.

    Flower resends a part if the connection failed, and a SuperNode refuses a part that has already arrived.
    If the process ended then, the SuperNode would wait for the other parts forever.
    """
    from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

    push = make(*arguments, **options)

    def send(object_id: str, content: bytes) -> None:
        try:
            push(object_id, content)
        except ObjectPushError as error:
            print(f"{error} It is taken for one that had arrived before.", file=sys.stderr, flush=True)

    return send


def _received(connection: socket.socket, length: int) -> bytes:
    content = b""
    while len(content) < length:
        if not (some := connection.recv(length - len(content))):
            raise ConnectionError("the request ended early")
        content += some
    return content


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
