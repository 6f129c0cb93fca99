"""A SuperLink, SuperNodes and runs as processes on loopback, whose parts can be stopped one by one."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from common.config_values import to_toml
from common.defaults import PROJECT_ROOT
from common.flower_control import SuperLink
from common.flower_fleet import fleet_options, has_own_address
from common.sections import Value
from runtimes.credentials.commands import node_options, superlink_command
from runtimes.credentials.folder import Credentials
from runtimes.credentials.registration import register
from runtimes.flower_environment import CONNECTION, FlowerProcesses, free_ports
from tests.system.commands import run_here

# A method whose clients wait where a file asks them to, so that a fault meets them in mid-training, or fail.
HELD = """
import os
import time
from pathlib import Path
from clients.base import Client

class Held(Client):
    folder: str = ""

    def begin_round(self):
        name = f"round-{self.server_round}-client-{self.client_id}"
        if (Path(self.folder) / f"fail-{name}").exists():
            raise RuntimeError("asked to fail")
        if (Path(self.folder) / f"hold-{name}").exists():
            (Path(self.folder) / f"held-{name}").write_text(f"{os.getpid()}\\n")
        while (Path(self.folder) / f"hold-{name}").exists():
            time.sleep(0.05)
"""

SMALL: dict[str, Value] = {
    "clients.count": 2, "clients.fraction": 1.0, "rounds": 3, "local.epochs": 1, "local.batch-size": 128,
    "model.name": "mlp", "dataset.name": "digits", "partition.name": "iid", "method.name": "held",
    "failures.timeout": 150.0, "evaluate.every": 100,
}  # fmt: skip


class Federation:
    """What an operator has at hand: start, kill, submit, look.

    Parameters
    ----------
    folder : Path
        Where logs, the database and the runs are.
    processes : FlowerProcesses
        What stops everything at the end.
    secure : bool, optional
        Whether connections are encrypted and each node has a key of its own.
    host : str, optional
        The address at which nodes reach the SuperLink.
    """

    def __init__(
        self, folder: Path, processes: FlowerProcesses, secure: bool = False, host: str = "127.0.0.1"
    ) -> None:
        self.folder = folder
        self._processes = processes
        self._host = host
        self._credentials = Credentials(folder / "credentials") if secure else None
        if self._credentials:
            self._credentials.make([host], 365)
        self._control, self._fleet = free_ports(2)
        if not has_own_address():
            self._fleet = self._control
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._submitted: set[str] = set()
        plugins = folder / "plugins" / "clients"
        plugins.mkdir(parents=True, exist_ok=True)
        (plugins / "held.py").write_text(HELD)
        authority = self._credentials.authority if self._credentials else None
        processes.connect(f"127.0.0.1:{self._control}", authority)

    def settings(self, **overrides: Value) -> dict[str, Value]:
        """Return the keys of a small run whose clients can be held; overrides as in `small_config`."""
        given = {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()}
        own: dict[str, Value] = {"plugins": str(self.folder / "plugins"), "method.folder": str(self.folder)}
        return {**SMALL, **own, **given}

    def start_superlink(self, database: Path | None = None) -> None:
        """Start the SuperLink, on its database, and wait until it answers."""
        command = [
            *superlink_command(self._credentials), "--host", "127.0.0.1", "--port", str(self._control),
            *fleet_options(f"{self._host}:{self._fleet}"),
            "--database", str(database or self.folder / "state.db"),
        ]  # fmt: skip
        self._start("superlink", command)
        self._processes.wait_for_port(self._control)

    def start_node(
        self,
        partition: int,
        name: str = "",
        among: int = 2,
        before: Sequence[str] = (),
        program: Sequence[str] = ("flower-supernode",),
    ) -> None:
        """Start a SuperNode, with a name of its own if its partition id had another.

        `before` is a command that runs it elsewhere, `program` what is started as it.
        """
        name = name or f"node-{partition}"
        command = [
            *before, *program, *self._trust(name), "--host", "127.0.0.1",
            "--port", str(free_ports(1)[0]), "--superlink", f"{self._host}:{self._fleet}",
            "--node-config", f"partition-id={partition} num-partitions={among}",
        ]  # fmt: skip
        self._start(name, command)

    def _trust(self, name: str) -> list[str]:
        if self._credentials is None:
            return ["--insecure"]
        if name not in self._credentials.nodes():
            self._credentials.add_node(name)
            register(self._credentials, f"127.0.0.1:{self._control}")
        return node_options(self._credentials.node(name))

    def submit(self, run: str, settings: Mapping[str, Value], resume: bool = False) -> None:
        """Submit a run; its directory is `run` in the folder."""
        config = self.folder / f"{run}.toml"
        values: dict[str, Value] = {
            "overrides": to_toml(dict(settings)),
            "run.directory": str(self.folder / run),
            "run.resume": resume,
        }
        config.write_text(to_toml(values))
        self._submitted.add(run)
        app = self._processes.copy_of(PROJECT_ROOT)
        self._start(run, ["flwr", "run", str(app), CONNECTION, "--stream", "--run-config", str(config)])

    def _start(self, name: str, command: list[str]) -> None:
        self._running[name] = self._processes.start(name, command)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a process a signal."""
        self._running[name].send_signal(number)

    def kill(self, name: str) -> None:
        """SIGKILL a process, and wait for its end."""
        self._running[name].kill()
        self._running.pop(name).wait()

    def wait(self, run: str, seconds: float) -> str:
        """Wait until a run's submission ends; return its log."""
        self._running.pop(run).wait(timeout=seconds)
        return self.log(run)

    def log(self, name: str) -> str:
        """Return what a process wrote."""
        return self._processes.log_path(name).read_text(errors="replace")

    def nodes_online(self) -> int:
        """Return how many nodes the SuperLink takes to be there."""
        authority = self._credentials.authority if self._credentials else None
        with SuperLink(f"127.0.0.1:{self._control}", authority) as superlink:
            return sum(node.status == "online" for node in superlink.nodes())

    def status(self) -> str:
        """Return how the latest run ended, in Flower's words."""
        with self._processes.superlink() as superlink:
            run = superlink.latest_run()
        assert run is not None
        return run.status

    def hold(self, server_round: int, client: int) -> Path:
        """Have a client wait when it comes to a round; return the file that keeps it waiting."""
        path = self.folder / f"hold-round-{server_round}-client-{client}"
        path.touch()
        return path

    def wait_for_held(self, server_round: int, client: int, seconds: float = 60) -> int:
        """Wait until a client waits; return the id of its process."""
        path = self.folder / f"held-round-{server_round}-client-{client}"

        def is_held() -> bool:
            for run in self._submitted & self._running.keys():
                assert self._running[run].poll() is None, self.log(run)
            return path.exists() and path.read_text().endswith("\n")

        wait_until(is_held, seconds, path.name)
        return int(path.read_text())


def wait_until(condition: Callable[[], bool], seconds: float, what: str = "") -> None:
    """Wait for something, and fail if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what or condition}"
        time.sleep(0.05)


def undisturbed(
    folder: Path, settings: Mapping[str, Value], failing: Collection[tuple[int, int]] = ()
) -> str:
    """Return the model_sha256 of the same run in this process, in which (round, client) of `failing` fail."""
    asked = folder.parent / f"{folder.name}-failing"
    asked.mkdir()
    for server_round, client in failing:
        (asked / f"fail-round-{server_round}-client-{client}").touch()
    values = {**settings, "method.folder": str(asked)}
    assignments = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    return str(run_here("--run-dir", str(folder), *assignments)["model_sha256"])


def model_of(run_directory: Path) -> str:
    """Return the hash of a finished run's model."""
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])
