"""Check that the SuperLink is the right one and accepts this node, and start a SuperNode.

``python -m runtimes.node nodes/a --superlink server.example:9092 --partition-id 0 --num-partitions 2``; the
folder was created by ``python -m runtimes.credentials`` for this node. A refused node ends with one line and
exit code 2.
"""

import argparse
import datetime
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from common.command_line import Parser, end_as_by_ctrl_c, guarded, show_warnings_as_lines
from common.errors import UserError
from common.files import expanded
from runtimes.credentials.commands import node_options
from runtimes.credentials.folder import load_certificate, load_private, read
from runtimes.flower_environment import check_free, program_environment, split_address
from runtimes.resident import resident_programs
from server.interrupt import STOP_SIGNALS

_POLL_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
# A killed node is listed as online until it has missed its heartbeats.
_LISTED_SECONDS = 90.0
_HELD_LINES = 400
_STILL_LISTED = "[code: 2004]"
_TIME_CODES = (9, 10)  # of OpenSSL: a certificate is not valid yet, or has expired


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    return guarded(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    folder = expanded(options.folder, "the command line")
    for name, least in (("partition_id", 0), ("num_partitions", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name.replace('_', '-')} has to be {least} or more")
    if options.partition_id >= options.num_partitions:
        raise UserError(
            f"--partition-id {options.partition_id}: ids go from 0 to --num-partitions - 1 ="
            f" {options.num_partitions - 1}"
        )
    config = f"partition-id={options.partition_id} num-partitions={options.num_partitions}"
    if options.data_root is not None:
        root = expanded(options.data_root, "--data-root").resolve()
        if not root.is_dir():
            print(f"there is no folder {root}: --data-root needs it before a run begins", flush=True)
        config += f' data-root="{root}"'
    split_address(options.superlink, "--superlink")
    check_free("127.0.0.1", options.port, "--port")
    is_known = check_admission(options.superlink, folder)
    command = [
        *["flower-supernode", *node_options(folder), "--superlink", options.superlink],
        *["--port", str(options.port), "--node-config", config],
    ]
    return run_node(command, is_known, options.superlink)


def check_admission(address: str, folder: Path, patience: float = float("inf")) -> Callable[[], bool]:
    """Wait until a SuperLink answers, and check that it is the right one and knows this node's key.

    Returns
    -------
    callable
        Returns whether the SuperLink still knows the key.

    Raises
    ------
    UserError
        If the credentials cannot be used; if the certificate is not for this address, of this authority and
        valid today; if the SuperLink does not know the key; or if nothing answers within `patience` seconds.
    """
    from common.flower_admission import is_registered

    key = load_private(folder / "key")
    load_certificate(folder / "ca.pem")
    authority = read(folder / "ca.pem")
    deadline = time.monotonic() + patience
    _shake_hands(address, authority, deadline)

    def is_known() -> bool:
        return is_registered(address, authority, key, _ANSWER_SECONDS)

    try:
        known = is_known()
    except ConnectionError as error:
        raise UserError(f"the SuperLink at {address} does not take this node: {error}") from None
    if not known:
        raise UserError(
            f"the SuperLink at {address} does not know the key {folder / 'key'}: it was never registered, or"
            " it was revoked; 'python -m runtimes.credentials register' on the server registers it"
        )
    return is_known


def _shake_hands(address: str, authority: bytes, deadline: float) -> None:
    """Make one TLS connection, as soon as something listens."""
    host, port = split_address(address, "--superlink")
    context = ssl.create_default_context(cadata=authority.decode("ascii"))
    context.set_alpn_protocols(["h2"])
    waited = False
    while True:
        try:
            with (
                socket.create_connection((host, port), timeout=_ANSWER_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=host),
            ):
                return
        except ssl.SSLCertVerificationError as error:
            raise UserError(
                f"the certificate of the SuperLink at {address} is refused:"
                f" {error.verify_message.rstrip('.')}; nothing was sent to it ({_remedy(error.verify_code)})"
            ) from None
        except ssl.SSLError as error:
            raise UserError(
                f"what listens at {address} makes no TLS connection ({error.reason}): give --superlink the"
                " Fleet API of a SuperLink that was not started with --insecure"
            ) from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(f"no SuperLink answers at {address}: {error.strerror or error}") from None
            if not waited:
                print(f"no SuperLink answers at {address} ({error.strerror or error}): waiting", flush=True)
            waited = True
            time.sleep(_POLL_SECONDS)


def _remedy(code: int) -> str:
    if code in _TIME_CODES:
        now = datetime.datetime.now(datetime.UTC)
        return f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC: set it, or renew the certificate"
    return "it has to be signed by this node's ca.pem, and be for this address"


def run_node(command: Sequence[str], is_known: Callable[[], bool], address: str) -> int:
    """Run a SuperNode until it ends; retry while the SuperLink still lists an earlier one with its key.

    Raises
    ------
    UserError
        If it ended because its key was revoked, or because another node uses the key.
    """
    with (
        tempfile.TemporaryDirectory(prefix="flower-node-") as folder,
        resident_programs(program_environment(), Path(folder)) as environment,
    ):
        return _run_until_asked(command, environment, is_known, address)


def _run_until_asked(
    command: Sequence[str], environment: Mapping[str, str], is_known: Callable[[], bool], address: str
) -> int:
    deadline = time.monotonic() + _LISTED_SECONDS
    while True:
        code, asked, held = _run_once(command, environment)
        if asked:
            return code
        if _STILL_LISTED not in held:
            _see_whether_revoked(is_known, address)
            sys.stdout.write(held)
            return code or 1
        if time.monotonic() > deadline:
            raise UserError(f"a node with this key is online at {address}: a key is for one node at a time")
        print(f"a node with this key is still listed as online at {address}: waiting", flush=True)
        time.sleep(5 * _POLL_SECONDS)


def _see_whether_revoked(is_known: Callable[[], bool], address: str) -> None:
    """Raise if a SuperNode ended because its key was revoked, which it does not always report."""
    try:
        known = is_known()
    except ConnectionError:
        return
    if not known:
        raise UserError(f"the SuperLink at {address} no longer takes this node: its key was revoked")


def _run_once(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, bool, str]:
    """Run a SuperNode and pass on its output.

    Returns
    -------
    tuple of int, bool and str
        Its exit code, whether a signal asked it to end, and its output from the first failure on.
    """
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        asked: list[int] = []

        def forward(number: int, _frame: object) -> None:
            asked.append(number)
            process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

        # nohup ignores SIGHUP
        before = {n: handler for n in STOP_SIGNALS if (handler := signal.getsignal(n)) != signal.SIG_IGN}
        try:
            for number in before:
                signal.signal(number, forward)
            assert process.stdout is not None
            held: deque[str] = deque(maxlen=_HELD_LINES)
            reader = threading.Thread(target=_pass_on, args=(process.stdout, held), daemon=True)
            reader.start()
            # Wait at once: its executor, which writes to the same pipe, ends when this process is gone.
            code = process.wait()
            reader.join(_ANSWER_SECONDS)
            return code, bool(asked), "".join(held)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _pass_on(output: Iterable[str], held: deque[str]) -> None:
    """Print lines until one reports a failure; put that and the following ones into `held`."""
    for line in output:
        if held or "Exit Code:" in line or line.startswith("Traceback"):
            held.append(line)
        else:
            sys.stdout.write(line)
            sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m runtimes.node", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="the node's folder: ca.pem and key")
    text = "address of the SuperLink's Fleet API, with a name from its certificate"
    add("--superlink", required=True, metavar="HOST:PORT", help=text)
    add("--partition-id", type=int, required=True, metavar="I", help="id of this node's client, from 0")
    add("--num-partitions", type=int, required=True, metavar="N", help="number of clients")
    add("--data-root", type=Path, metavar="DIR", help="folder of the data on this machine")
    text = "port of the SuperNode's own API on 127.0.0.1 (default: 9094); another for each node of a machine"
    add("--port", type=int, default=9094, help=text)
    return parser


if __name__ == "__main__":
    show_warnings_as_lines()
    end_as_by_ctrl_c()
    sys.exit(main())
