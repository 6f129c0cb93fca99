"""Check that the SuperLink is the right one and accepts this node, and start a SuperNode.

``python -m runtimes.node nodes/a --superlink server.example:9092 --partition-id 0 --num-partitions 2``; the
folder was created by ``python -m runtimes.credentials`` for this node. A refused node ends with one line and
exit code 2.
"""

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.command_line import Parser, end_as_by_ctrl_c, guarded, show_warnings_as_lines
from common.errors import UserError
from common.files import expanded
from common.flower_fleet import require_own_address
from runtimes.admission import Admission
from runtimes.credentials.commands import node_options
from runtimes.flower_environment import check_free, program_environment, split_address
from runtimes.parent_death import ending_with_this_process
from runtimes.resident import resident_programs
from server.interrupt import STOP_SIGNALS

# A killed node is listed as online until it has missed its heartbeats.
_LISTED_SECONDS = 90.0
_LISTED_AGAIN_SECONDS = 10.0
_REST_OF_OUTPUT_SECONDS = 10.0
_HELD_LINES = 400
_STILL_LISTED, _UNTRUSTED = "[code: 2004]", "SSL/TLS handshake error"  # in what a SuperNode prints

# Returns why a certificate is refused, and whether that may change without a new start.
Look = Callable[[], tuple[str, bool] | None]


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
    require_own_address("python -m runtimes.node")
    admission = Admission(options.superlink, folder)
    admission.check()
    command = [
        *["flower-supernode", *node_options(folder), "--superlink", options.superlink],
        *["--port", str(options.port), "--node-config", config],
    ]
    return run_node(command, admission)


def run_node(command: Sequence[str], admission: Admission) -> int:
    """Run a SuperNode until it ends; retry while the SuperLink still lists an earlier one with its key.

    Raises
    ------
    UserError
        If it ended because its key was revoked, another node uses the key, or the SuperLink has other
        credentials.
    """
    with (
        tempfile.TemporaryDirectory(prefix="flower-node-") as folder,
        resident_programs(program_environment(), Path(folder)) as environment,
    ):
        return _run_until_asked(command, environment, admission)


def _run_until_asked(command: Sequence[str], environment: Mapping[str, str], admission: Admission) -> int:
    deadline = time.monotonic() + _LISTED_SECONDS
    address = admission.address
    while True:
        ended = _run_once(command, environment, admission.refused_certificate)
        if ended.asked:
            return ended.code
        if ended.refusal:
            raise UserError(ended.refusal)
        if _STILL_LISTED not in ended.held:
            reason = _why_not_taken(admission)
            sys.stdout.write(ended.held)
            print(f"error: the SuperNode ended, exit code {ended.code}{reason}", file=sys.stderr)
            return ended.code or 1
        if time.monotonic() > deadline:
            raise UserError(f"a node with this key is online at {address}: a key is for one node at a time")
        print(f"a node with this key is still listed as online at {address}: waiting", flush=True)
        time.sleep(_LISTED_AGAIN_SECONDS)


def _why_not_taken(admission: Admission) -> str:
    """Return why a SuperNode may have ended; it does not always report that.

    Raises
    ------
    UserError
        If its key was revoked.
    """
    try:
        known = admission.is_known()
    except ConnectionError as error:
        return f": the SuperLink at {admission.address} does not take this node: {error}"
    if not known:
        raise UserError(
            f"the SuperLink at {admission.address} no longer takes this node: its key was revoked"
        )
    return ""


class _Ended(NamedTuple):
    """How a SuperNode ended.

    Attributes
    ----------
    code : int
        Its exit code.
    asked : bool
        Whether a signal asked it to end.
    refusal : str
        Why the SuperLink's certificate is refused, where it was ended for that.
    held : str
        Its output from the first failure on.
    """

    code: int
    asked: bool
    refusal: str
    held: str


def _run_once(command: Sequence[str], environment: Mapping[str, str], look: Look) -> _Ended:
    """Run a SuperNode and pass on its output."""
    with subprocess.Popen(
        ending_with_this_process(command),
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
            output = _Output(process, look)
            reader = threading.Thread(target=output.pass_on, daemon=True)
            reader.start()
            # Wait at once: its executor, which writes to the same pipe, ends when this process is gone.
            code = process.wait()
            reader.join(_REST_OF_OUTPUT_SECONDS)
            return _Ended(code, bool(asked), output.refusal, "".join(output.held))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Output:
    """What a SuperNode prints: passed on until a line reports a failure, held from then on.

    A SuperNode that cannot trust its SuperLink tries again for ever and does not say why, so this looks.
    """

    def __init__(self, process: subprocess.Popen[str], look: Look) -> None:
        self._process, self._look = process, look
        self._has_said = False
        self.held: deque[str] = deque(maxlen=_HELD_LINES)
        self.refusal = ""

    def pass_on(self) -> None:
        """Read all of it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self.held or "Exit Code:" in line or line.startswith("Traceback"):
                self.held.append(line)
                continue
            with contextlib.suppress(OSError):  # it has to be read even if nobody takes it
                sys.stdout.write(line)
                sys.stdout.flush()
            if _UNTRUSTED in line and not self.refusal:
                self._see_why()

    def _see_why(self) -> None:
        refused = self._look()
        if refused is None:
            return
        text, may_pass = refused
        if not may_pass:
            self.refusal = text
            self._process.terminate()
        elif not self._has_said:
            print(f"{text}; this node continues when that is done", file=sys.stderr, flush=True)
            self._has_said = True


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m runtimes.node", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="the node's folder: ca.pem and key")
    text = "address of the SuperLink's Fleet API, with a name from its certificate"
    add("--superlink", required=True, metavar="HOST:PORT", help=text)
    add("--partition-id", type=int, required=True, metavar="I", help="number of this node, from 0")
    add("--num-partitions", type=int, required=True, metavar="N", help="number of nodes")
    add("--data-root", type=Path, metavar="DIR", help="folder of the data on this machine")
    text = "port of the SuperNode's own API on 127.0.0.1 (default: 9094); another for each node of a machine"
    add("--port", type=int, default=9094, help=text)
    return parser


if __name__ == "__main__":
    show_warnings_as_lines()
    end_as_by_ctrl_c()
    sys.exit(main())
