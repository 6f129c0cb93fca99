"""The helper command against a tiny Flower app, as the processes that a user would start."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtimes import federation
from runtimes.federation_plan import read_plan
from server.interrupt import STOP_SIGNALS

PROJECT_ROOT = Path(__file__).resolve().parents[2]
MARK = "FLOWERBED_TEST_MARK"

PYPROJECT = """
[project]
name = "tinyapp"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "tiny.server:app"
clientapp = "tiny.client:app"

[tool.flwr.app.config]
overrides = ""
clients.count = 1
run.directory = ""
run.resume = false
"""

SERVER = """
import json, time, tomllib
from pathlib import Path
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    folder = Path(context.run_config["run.directory"])
    overrides = tomllib.loads(context.run_config["overrides"])
    action = overrides["act"]
    (folder / "started").touch()
    while action == "wait":
        time.sleep(0.1)
    while len(nodes := list(grid.get_node_ids())) < overrides["clients"]["count"]:
        time.sleep(0.1)
    waiting = set(grid.push_messages([Message(RecordDict(), node, "query") for node in nodes]))
    answers = []
    while waiting:
        time.sleep(0.1)
        for reply in grid.pull_messages(waiting):
            waiting.discard(reply.metadata.reply_to_message_id)
            answers.append(dict(reply.content["node"]))
    if action != "forget":
        (folder / "summary.json").write_text(json.dumps({"answers": answers, "overrides": overrides}))
"""

CLIENT = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def query(message, context):
    return Message(RecordDict({"node": ConfigRecord(dict(context.node_config))}), reply_to=message)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds leftover processes in /proc")


@dataclass
class Helper:
    """Starts the command against the tiny app and knows which processes came of it."""

    folder: Path
    mark: str

    @property
    def run_directory(self) -> Path:
        return self.folder / "run"

    def options(self, *arguments: str) -> list[str]:
        return ["--run-dir", str(self.run_directory), "--app-dir", str(self.folder / "app"), *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "runtimes.federation", *self.options(*arguments)],
            cwd=PROJECT_ROOT,
            env={**os.environ, MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=200)
        return process.returncode, output

    def living(self) -> dict[int, str]:
        mark = f"{MARK}={self.mark}".encode()
        return {
            int(folder.name): name.decode().strip()
            for folder in Path("/proc").glob("[0-9]*")
            if mark in _read(folder / "environ")
            and b"State:\tZ" not in _read(folder / "status")
            and (name := _read(folder / "comm"))  # it may end in between
        }


@pytest.fixture
def helper(tmp_path: Path) -> Iterator[Helper]:
    package = tmp_path / "app" / "tiny"
    package.mkdir(parents=True)
    (tmp_path / "app" / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").touch()
    (package / "server.py").write_text(SERVER)
    (package / "client.py").write_text(CLIENT)
    helper = Helper(tmp_path, uuid.uuid4().hex)
    yield helper
    for pid in helper.living():
        os.kill(pid, signal.SIGKILL)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.mark.slow
def test_nodes_are_processes_that_carry_a_run_to_its_summary(helper: Helper) -> None:
    experiment = helper.folder / "experiment.toml"
    experiment.write_text('act = "work"\n[method]\nmu = 1.0\n')

    code, output = helper.run(
        str(experiment), "--set", "method.mu=0.5", "--supernodes", "2", "--data-root", str(helper.folder)
    )

    assert code == 0, output
    summary = json.loads((helper.run_directory / "summary.json").read_text())
    assert summary["overrides"]["method"] == {"mu": 0.5}
    assert sorted(answer["partition-id"] for answer in summary["answers"]) == [0, 1]
    assert {answer["num-partitions"] for answer in summary["answers"]} == {2}
    assert {answer["data-root"] for answer in summary["answers"]} == {str(helper.folder)}
    logs = {path.name for path in (helper.run_directory / "federation").glob("*.log")}
    assert logs == {"superlink.log", "supernode-0.log", "supernode-1.log", "run.log"}
    superlink = (helper.run_directory / "federation" / "superlink.log").read_text()
    assert "insecure" not in superlink
    assert "authentication is disabled" not in superlink
    assert helper.living() == {}


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("was_finished", [False, True])
@pytest.mark.parametrize(
    ("is_stopped", "ending", "message"),
    [(False, federation.FederationError, "wrote no .*summary.json"), (True, federation._Stopped, "130")],
)
def test_a_run_without_a_summary_of_its_own_is_not_complete(
    helper: Helper,
    was_finished: bool,
    is_stopped: bool,
    ending: type[BaseException],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that continues a finished one removes its summary when it starts."""
    plan = read_plan(helper.options("--supernodes", "1"), "")
    summary = plan.run_directory / "summary.json"
    plan.run_directory.mkdir()
    if was_finished:
        summary.write_text("{}")
    signals = federation._Signals()

    def follow(*_: object) -> None:
        summary.unlink(missing_ok=True)
        signals.requested = is_stopped

    monkeypatch.setattr(federation, "_follow", follow)
    for step in ("_start_federation", "_submit", "_check_completed"):
        monkeypatch.setattr(federation, step, lambda *_: None)
    with pytest.raises(ending, match=message):
        federation.run(plan, signals)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "runtime"),
    [
        (signal.SIGTERM, ()),
        (signal.SIGKILL, ()),
        (signal.SIGKILL, ("--simulation",)),  # Flower leaves a simulation running when its parent dies
    ],
)
def test_nothing_survives_a_stopped_helper(
    helper: Helper, number: signal.Signals, runtime: tuple[str, ...]
) -> None:
    process = helper.start("--set", "act=wait", "--supernodes", "1", *runtime)
    assert _wait_until((helper.run_directory / "started").exists, 60)
    assert len(helper.living()) > 4  # the helper, its guard, the SuperLink, its executor, the app

    process.send_signal(number)
    process.communicate(timeout=30)

    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert _wait_until(lambda: not helper.living(), 10), helper.living()


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_nohup_or_a_background_shell_ignores_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    federation._Signals()
    assert [each for each in STOP_SIGNALS if signal.getsignal(each) == signal.SIG_IGN] == [number]


@pytest.mark.slow
def test_a_dying_node_ends_the_run(helper: Helper) -> None:
    process = helper.start("--set", "act=wait", "--supernodes", "2", "--insecure")
    assert _wait_until((helper.run_directory / "started").exists, 60)
    log = helper.run_directory / "federation" / "supernode-1.log"
    assert _wait_until(lambda: "Starting Flower SuperNode" in log.read_text(), 60)  # the other may be first

    os.kill(_pid_of_node(helper, 1), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 1
    assert re.search(r"supernode-1 ended early, exit code -9", output)
    assert "Starting Flower SuperNode" in output
    assert "insecure" in (helper.run_directory / "federation" / "superlink.log").read_text()
    assert helper.living() == {}


def _pid_of_node(helper: Helper, node: int) -> int:
    config = f"partition-id={node} ".encode()
    return next(pid for pid in helper.living() if config in _read(Path(f"/proc/{pid}/cmdline")))


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--app-dir", "nowhere"], r"cannot read .*nowhere/pyproject.toml: No such file or directory"),
        (["missing.toml"], r"cannot read missing.toml: No such file or directory"),
        (["--supernodes", "0"], r"clients.count is 0; give the number of nodes with --supernodes"),
        (["--set", "rounds"], r"--set takes key=value, not 'rounds'"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(
    helper: Helper, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert federation.main(helper.options(*arguments)) == 2
    output, error = capfd.readouterr()
    assert output == ""
    assert re.fullmatch(f"error: {message}\n", error)
