"""Run an experiment through Flower's own runtimes, on this machine, and leave nothing running.

``python -m runtimes.federation experiments/x.toml`` starts a SuperLink and one SuperNode per client as
processes that talk gRPC, submits the app and follows the run. With ``--simulation`` the SuperLink
simulates the nodes in Ray actors instead. All connections are encrypted and each node has its own key,
made for this federation and deleted with it; ``--insecure`` omits both.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from analysis.report import print_summary
from common.checkpoint_files import FOLDER, committed_rounds
from common.command_line import leave_closed_pipe, make_console, show_warnings_as_lines
from common.config_values import to_toml
from common.defaults import PROJECT_ROOT
from common.errors import UserError, print_error
from common.flower_control import Run
from common.flower_fleet import fleet_options, has_own_address
from common.sections import Value
from runtimes.credentials.commands import node_options, superlink_command
from runtimes.credentials.folder import Credentials
from runtimes.credentials.registration import register
from runtimes.federation_plan import Plan, read_plan
from runtimes.flower_environment import CONNECTION, FederationError, FlowerProcesses, free_ports
from server.interrupt import STOP_FILE, STOP_SIGNALS

FOLLOW_SECONDS = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: as that of ``run_simulation.py``."""
    signals = _Signals()
    plan = None
    try:
        plan = read_plan(arguments, __doc__)
        run(plan, signals)
    except UserError as error:
        print_error(error)
        return 2
    except FederationError as error:
        print("; ".join(filter(None, [f"error: {error}", _how_to_resume(plan)])), file=sys.stderr)
        return 1
    except BrokenPipeError:
        leave_closed_pipe()
        said = ["error: the output was closed by its reader", _how_to_resume(plan)]
        print("; ".join(filter(None, said)), file=sys.stderr)
        return 1
    except OSError as error:
        print("; ".join(filter(None, [f"error: {error}", _how_to_resume(plan)])), file=sys.stderr)
        return 1
    except _Stopped as stopped:
        print("; ".join(filter(None, ["stopped", _how_to_resume(plan)])), file=sys.stderr)
        return stopped.code
    if plan.app == PROJECT_ROOT:
        print_summary(plan.run_directory, make_console())
    else:
        print(f"The run completed: {plan.run_directory}")
    return 0


class _Stopped(BaseException):
    """A signal ended the federation.

    Attributes
    ----------
    code : int
        The exit code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Signals:
    """The first signal while rounds run asks the server to stop after its round; any other stops at once."""

    def __init__(self) -> None:
        self.stop_file: Path | None = None  # set once the run is submitted with it
        self.requested = False
        for number in STOP_SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as SIGHUP under nohup
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: object) -> None:
        if self.requested or self.stop_file is None:
            raise _Stopped(128 + number)
        self.requested = True
        self.stop_file.touch()
        print("stopping after this round; Ctrl-C again stops at once", flush=True)


def _how_to_resume(plan: Plan | None) -> str:
    if plan is None or plan.app != PROJECT_ROOT:
        return ""
    command = f"python -m runtimes.federation --run-dir {plan.run_directory} --resume"
    if committed_rounds(plan.run_directory / FOLDER):
        return f"what was committed is kept: resume with {command}"
    if (plan.run_directory / "config.toml").exists():
        return f"nothing was committed yet: {command} starts it from the beginning"
    return "nothing has begun: the same command starts it again"


def run(plan: Plan, signals: _Signals) -> None:
    """Start the federation, follow the run to its end and stop everything.

    Raises
    ------
    FederationError
        If a process ends early, or the run does not complete or writes no ``summary.json``.
    _Stopped
        After a signal.
    """
    summary = plan.run_directory / "summary.json"
    written_before = _modified(summary)
    with FlowerProcesses(plan.log_directory) as processes:
        _start_federation(processes, plan)
        submission = _submit(processes, plan)
        if plan.app == PROJECT_ROOT:
            stop_file = plan.run_directory / STOP_FILE
            stop_file.unlink(missing_ok=True)
            signals.stop_file = stop_file
        _follow(processes, submission)
        _check_completed(processes)
    is_written = _modified(summary) not in (None, written_before)  # a run that continues removes it
    if signals.requested and not is_written:
        raise _Stopped(130)
    if not is_written:
        raise FederationError(f"the run completed, but wrote no {summary}")


def _start_federation(processes: FlowerProcesses, plan: Plan) -> None:
    control, fleet, *node_ports = free_ports(2 + plan.nodes)
    fleet = fleet if has_own_address() else control
    credentials = None if plan.insecure else _make_credentials(processes, plan)
    if not plan.simulation:
        processes.keep_programs()
    role = ["--simulation"] if plan.simulation else fleet_options(f"127.0.0.1:{fleet}")
    processes.start_service(
        "superlink",
        [*superlink_command(credentials), "--host", "127.0.0.1", "--port", str(control), *role],
    )
    processes.wait_for_port(control)
    processes.connect(f"127.0.0.1:{control}", credentials.authority if credentials else None)
    if plan.simulation:
        return
    if credentials:
        register(credentials, f"127.0.0.1:{control}")
    for node, port in enumerate(node_ports):
        trust = node_options(credentials.node(_node_name(node))) if credentials else ["--insecure"]
        command = [
            *["flower-supernode", *trust, "--host", "127.0.0.1", "--port", str(port)],
            *["--superlink", f"127.0.0.1:{fleet}", "--node-config", _node_config(plan, node)],
        ]
        processes.start_service(f"supernode-{node}", command)


def _make_credentials(processes: FlowerProcesses, plan: Plan) -> Credentials:
    credentials = Credentials(processes.home / "credentials")
    credentials.make([], 365)
    for node in range(0 if plan.simulation else plan.nodes):
        credentials.add_node(_node_name(node))
    return credentials


def _node_name(node: int) -> str:
    return f"supernode-{node}"


def _node_config(plan: Plan, node: int) -> str:
    data_root = f' data-root="{plan.data_root}"' if plan.data_root else ""
    return f"partition-id={node} num-partitions={plan.nodes}{data_root}"


def _submit(processes: FlowerProcesses, plan: Plan) -> subprocess.Popen[bytes]:
    run_config = plan.log_directory / "run-config.toml"
    run_config.write_text(_run_config(plan), encoding="utf-8")
    app = processes.copy_of(plan.app)
    command = ["flwr", "run", str(app), CONNECTION, "--stream", "--run-config", str(run_config)]
    if plan.simulation:
        command += [
            "--federation-config",
            f"num-supernodes={plan.nodes} client-resources-num-cpus={plan.cpus_per_client}"
            f" client-resources-num-gpus={plan.gpus_per_client}",
        ]
    return processes.start("run", command)


def _run_config(plan: Plan) -> str:
    """Return the run configuration; Flower takes only declared keys, so the rest goes into ``overrides``."""
    run_config: dict[str, Value] = {
        "overrides": to_toml(plan.overrides),
        "run.directory": str(plan.run_directory),
        "run.resume": plan.resume,
    }
    return to_toml(run_config)


def _follow(processes: FlowerProcesses, submission: subprocess.Popen[bytes]) -> None:
    """Copy the run's log to the terminal until it ends."""
    with processes.log_path("run").open("rb") as log:
        while submission.poll() is None:
            _copy_new_output(log)
            processes.check_services()
            time.sleep(FOLLOW_SECONDS)
        _copy_new_output(log)
    if submission.returncode:
        raise FederationError(f"'flwr run' ended with exit code {submission.returncode}")


def _copy_new_output(log: BinaryIO) -> None:
    shutil.copyfileobj(log, sys.stdout.buffer)
    sys.stdout.flush()


def _check_completed(processes: FlowerProcesses) -> None:
    """Ask the SuperLink how its only run ended: ``flwr run`` succeeds even if the app raised."""
    while not (run := _latest_run(processes)).status.startswith("finished"):
        processes.check_services()
        time.sleep(FOLLOW_SECONDS)
    if run.status != "finished:completed":
        details = run.details.partition("\n")[0]  # the rest is in the log above
        raise FederationError(f"the run is {run.status}: {details}")


def _latest_run(processes: FlowerProcesses) -> Run:
    try:
        with processes.superlink() as superlink:
            run = superlink.latest_run()
    except UserError as error:
        processes.check_services()
        raise FederationError(f"it is not known how the run ended: {error}") from None
    if run is None:
        raise FederationError("it is not known how the run ended: the SuperLink lists no run")
    return run


def _modified(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


if __name__ == "__main__":
    show_warnings_as_lines()
    sys.exit(main())
