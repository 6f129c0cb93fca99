"""A queue file, its runs, and a stand-in for the code that they run."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtimes.queue.file import read_queue_file
from runtimes.queue.records import Records
from runtimes.queue.runs import runs_of
from runtimes.queue.table import state_of
from tests.system.commands import start

Output = pytest.CaptureFixture[str]

# A checkout whose run_simulation.py does what the key `script` says: quick, where only the queue matters.
STAND_IN = """
import argparse, json, os, signal, sys, time
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("experiment", nargs="?")
for name in ("--run-dir", "--only", "--seeds", "--rounds-scale"):
    parser.add_argument(name)
parser.add_argument("--set", action="append")
parser.add_argument("--resume", action="store_true")
options = parser.parse_args()
settings = dict(text.split("=", 1) for text in options.set)
path = Path(options.run_dir, options.only or "")

def begin(rounds):
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.toml").write_text(f"rounds = {rounds}")
    if not (path / "metrics.csv").exists():
        (path / "metrics.csv").write_text("round,test_accuracy,test_loss,seconds\\n")

def row(number, accuracy="", loss=""):
    with (path / "metrics.csv").open("a") as file:
        file.write(f"{number},{accuracy},{loss},2.0\\n")

def commit(number):
    (path / "checkpoints").mkdir(exist_ok=True)
    (path / "checkpoints" / f"round-{number:06d}.json").touch()

def wait_for_stop():
    def handle(*_):
        commit(99)
        print("stopped; resume with --resume")
        sys.exit(130)
    signal.signal(signal.SIGTERM, handle)
    (path / "ready").touch()
    while True:
        time.sleep(0.02)

with open("started.txt", "a") as file:
    resumed = "resumed" if options.resume else "new"
    print(path.name, resumed, os.nice(0), os.environ["OMP_NUM_THREADS"], file=file)
exec(json.loads(settings.get("script", '""')))
"""


class Folder:
    """A queue file, its runs and the stand-in for the code."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "queue.toml"
        self.runs = path / "runs"
        self.code = path / "code"
        self.queues: list[subprocess.Popen[str]] = []
        self.code.mkdir()
        (self.code / "run_simulation.py").write_text(STAND_IN)

    def write(self, text: str, stand_in: bool = True) -> Path:
        code = f"nice = 3\ncode = '{self.code}'\n" if stand_in else ""
        self.file.write_text(f"directory = '{self.runs}'\n{code}{text}")
        return self.file

    def appending(self, text: str) -> str:
        """Return a script that adds to the queue file."""
        return json.dumps(f"Path({str(self.file)!r}).open('a').write({text!r})")

    def started(self) -> list[list[str]]:
        """Return what began: name, new or resumed, niceness, threads."""
        file = self.code / "started.txt"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def names(self) -> list[str]:
        return [words[0] for words in self.started()]

    def states(self) -> dict[str, tuple[str, str]]:
        file = read_queue_file(self.file)
        return {run.name: state_of(run, Records(file.path)) for run in runs_of(file)}

    def start(self) -> subprocess.Popen[str]:
        """Start the queue as a process of its own."""
        self.queues.append(start([sys.executable, "-m", "runtimes.queue", str(self.file)]))
        return self.queues[-1]

    def end(self) -> None:
        """End what a test that failed has left."""
        for queue in self.queues:
            if queue.poll() is None:
                queue.terminate()
                queue.wait(30)


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
