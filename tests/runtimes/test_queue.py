"""A queue of experiments over real processes: order, ends of all kinds, kill and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import UserError
from common.sections import Value
from runtimes.queue.__main__ import main
from runtimes.queue.file import GiveUp, read_queue_file
from runtimes.queue.process import Stop
from runtimes.queue.records import Records
from runtimes.queue.runs import Progress, Run, runs_of
from runtimes.queue.table import state_of
from runtimes.queue.worker import MAX_ATTEMPTS
from tests.conftest import Runner, small_run
from tests.system.commands import start, summary

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


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    folder.end()


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


# Order, and what a run is given.


def test_the_most_urgent_first_then_the_order_of_the_file(folder: Folder) -> None:
    text = "[entries.a]\n[entries.b]\npriority = 5\n[entries.c]\npriority = -1\n[entries.d]\n"
    assert main([str(folder.write(text))]) == 0
    assert folder.names() == ["b", "a", "d", "c"]
    assert {state for state, _ in folder.states().values()} == {"done"}
    assert main([str(folder.file)]) == 0, "what is done is not run again"
    assert len(folder.started()) == 4


def test_a_run_has_one_thread_and_is_nicer_than_the_queue(folder: Folder) -> None:
    main([str(folder.write("[entries.a]"))])
    assert folder.started() == [["a", "new", str(min(19, os.nice(0) + 3)), "1"]]


def test_the_session_of_a_run_is_nicer_than_others(folder: Folder) -> None:
    group = Path("/proc/self/autogroup")
    if not group.exists():
        pytest.skip("this kernel does not share processors among sessions")
    script = f"time.sleep(0.3); Path('group.txt').write_text(Path('{group}').read_text())"
    main([str(folder.write(f"[entries.a]\nset.script = {json.dumps(script)}"))])
    assert (folder.code / "group.txt").read_text().split()[-2:] == ["nice", str(min(19, os.nice(0) + 3))]


def test_each_run_of_a_sweep_is_a_process_of_its_own(folder: Folder) -> None:
    (folder.code / "sweep.toml").write_text(
        "[axes.split]\niid.partition.name = 'iid'\nskew.partition.alpha = 0.1\n"
        "[axes.rate]\nhigh.local.lr = 0.2\nlow.local.lr = 0.1\n"
    )
    folder.write("[entries.a]\nexperiment = 'sweep.toml'\nonly = ['iid', 'low']\nseeds = [3, 4]\n")
    assert main([str(folder.file)]) == 0
    expected = ["iid,high", "iid,low", "skew,low"]
    assert folder.names() == [f"{labels},seed{seed}" for labels in expected for seed in (3, 4)]
    folder.write("[entries.a]\nexperiment = 'sweep.toml'\nonly = ['iid,low']\nseeds = [3, 4]\n")
    assert list(folder.states()) == ["a/iid,low,seed3", "a/iid,low,seed4"]


def test_the_command_line_of_a_run(folder: Folder) -> None:
    folder.write(
        "set = { dataset.root = 'a b\u2028c', local.epochs = 3 }\ncheckpoint-minutes = 2.5\n"
        "[entries.a]\nexperiment = 'experiments/course/b2-fedavg-iid.toml'\nrounds-scale = 0.5\n"
        "set.local.steps = 4\n[entries.b]\ncheckpoint-minutes = 0.0\n",
        stand_in=False,
    )
    first, second = runs_of(read_queue_file(folder.file, overrides={"seed": 7}))
    assert first.command()[1:] == [
        *["run_simulation.py", "experiments/course/b2-fedavg-iid.toml", "--run-dir", str(folder.runs / "a")],
        *["--rounds-scale", "0.5", "--set", 'dataset.root="a b\u2028c"', "--set", "local.epochs=0"],
        *["--set", "local.steps=4", "--set", "seed=7", "--set", "checkpoint.minutes=2.5"],
    ]
    assert "checkpoint.minutes=0.0" not in second.command()
    (folder.runs / "a").mkdir(parents=True)
    assert "--resume" not in first.command(), "there is nothing to resume yet"
    (folder.runs / "a" / "config.toml").touch()
    assert first.command()[-1] == "--resume"


def test_entries_may_be_added_while_it_runs(folder: Folder) -> None:
    script = folder.appending("[entries.b]\npriority = 9\n")
    folder.write(f"[entries.a]\nset.script = {script}\n[entries.c]\n")
    assert main([str(folder.file)]) == 0
    assert folder.names() == ["a", "b", "c"]


def test_a_file_that_turns_bad_does_not_stop_the_others(folder: Folder, capsys: Output) -> None:
    script = folder.appending("[entries")
    folder.write(f"[entries.a]\nset.script = {script}\n[entries.c]\n")
    assert main([str(folder.file)]) == 2
    assert folder.names() == ["a", "c"]
    assert "is not valid TOML" in capsys.readouterr().err


# Ends.


def test_a_failure_is_kept_with_its_reason_and_the_others_go_on(folder: Folder, capsys: Output) -> None:
    script = "print('error: no such thing'); sys.exit(2)"
    folder.write(f"[entries.a]\nset.script = {json.dumps(script)}\n[entries.b]\n")
    assert main([str(folder.file)]) == 1
    assert folder.states() == {"a": ("failed", "no such thing"), "b": ("done", "")}
    assert main([str(folder.file)]) == 1
    assert folder.names() == ["a", "b"], "it is not tried again as it is"
    assert main([str(folder.file), "--retry", "a"]) == 0
    assert folder.states()["a"] == ("waiting", "")
    assert main([str(folder.file)]) == 1
    folder.write("[entries.a]\n[entries.b]\n")
    assert main([str(folder.file)]) == 0, "a mended entry is tried again"
    assert folder.names() == ["a", "b", "a", "a", "b"][: len(folder.names())]
    assert main([str(folder.file), "--retry", "c"]) == 2
    assert "there is no run or entry 'c'" in capsys.readouterr().err


def test_a_sweep_that_fails_gives_the_reason_of_its_run(folder: Folder) -> None:
    failed = "[1/1] x failed, the others continue: the loss is nan"
    script = f"print('{failed}'); print('error: 1 of 1 runs failed'); 1/0"
    folder.write(f"[entries.a]\nset.script = {json.dumps(script)}\n")
    assert main([str(folder.file)]) == 1
    assert folder.states()["a"] == ("failed", "the loss is nan")


def test_a_run_that_shows_nothing_is_given_up_and_not_resumed(folder: Folder) -> None:
    script = "begin(8); [row(n, 0.01) for n in range(4)]; wait_for_stop()"
    folder.write(
        "give-up = { after = 0.25, below = 0.02 }\n"
        f"[entries.a]\nset.script = {json.dumps(script)}\n[entries.b]\n"
    )
    assert main([str(folder.file)]) == 0
    reason = "test_accuracy at most 0.01, below 0.02 after 3 of 8 rounds"
    assert folder.states() == {"a": ("given up", reason), "b": ("done", "")}
    assert main([str(folder.file)]) == 0
    assert folder.names() == ["a", "b"]


@pytest.mark.parametrize(
    ("rule", "rows", "gives_up"),
    [
        ({"below": 0.02}, [(0, 0.01), (1, 0.01)], False),  # before a quarter of 8 rounds
        ({"below": 0.02}, [(1, 0.01), (2, 0.01)], True),
        ({"below": 0.02}, [(1, 0.03), (2, 0.01)], False),  # the best value counts
        ({"below": 0.02}, [(1, 0.01), (2, 0.02)], False),  # as large as the bound is enough
        ({"below": 0.02}, [(0, 0.5), (2, 0.01)], True),  # the initial model does not count
        ({"below": 0.02}, [(1, 0.01), (3, "")], False),  # not evaluated since
        ({"below": 0.02}, [(2, "nan")], True),
        ({"metric": "test_loss", "above": 4.0}, [(2, 4.5)], True),
        ({"metric": "test_loss", "above": 4.0}, [(1, 3.5), (2, 4.5)], False),
        ({"metric": "other", "below": 1.0}, [(8, 0.5)], False),
    ],
)
def test_when_a_run_is_given_up(
    rule: dict[str, Any], rows: list[tuple[int, object]], gives_up: bool, tmp_path: Path
) -> None:
    metric = rule.get("metric", "test_accuracy").replace("other", "test_accuracy")
    (tmp_path / "config.toml").write_text("rounds = 8\n")
    lines = [f"round,{metric}", *(f"{number},{value}" for number, value in rows), "9,0.9"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines))  # the last row is not complete
    reason = Progress(tmp_path).reason_to_give_up(GiveUp.model_validate({"after": 0.25, **rule}))
    assert bool(reason) == gives_up


def test_a_killed_run_is_resumed_as_long_as_it_gets_further(folder: Folder) -> None:
    further = (
        "begin(9); n = len(list(path.glob('checkpoints/*'))); commit(n); n < 5 and os.kill(os.getpid(), 9)"
    )
    stuck = "begin(9); os.kill(os.getpid(), 9)"
    folder.write(
        f"[entries.a]\nset.script = {json.dumps(further)}\n[entries.b]\nset.script = {json.dumps(stuck)}\n"
    )
    assert main([str(folder.file)]) == 1
    assert [words[:2] for words in folder.started()[:2]] == [["a", "new"], ["a", "resumed"]]
    assert folder.names() == ["a"] * 6 + ["b"] * MAX_ATTEMPTS
    reason = "its process ended with signal 9, 3 times without a commit between"
    assert folder.states() == {"a": ("done", ""), "b": ("failed", reason)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda n: n.name)
def test_a_signal_ends_the_run_gently_and_the_queue(folder: Folder, number: signal.Signals) -> None:
    script = "begin(4); row(1, 0.5); wait_for_stop()"
    folder.write(f"[entries.a]\nset.script = {json.dumps(script)}\n[entries.b]\n")
    queue = folder.start()
    wait_for(lambda: (folder.runs / "a" / "ready").exists() and folder.states()["a"][0] == "running")
    assert folder.states()["a"][1].startswith("round 1 of 4, expected end ")
    queue.send_signal(number)
    output, _ = queue.communicate(timeout=30)
    assert queue.returncode == 130, output
    assert (folder.runs / "a" / "checkpoints" / "round-000099.json").exists(), "it committed"
    assert folder.states() == {"a": ("stopped", "round 1 of 4"), "b": ("waiting", "")}


def test_two_queues_on_one_file(folder: Folder, capsys: Output) -> None:
    script = "begin(4); row(1, 0.5); wait_for_stop()"
    folder.write(f"[entries.a]\nset.script = {json.dumps(script)}\n")
    queue = folder.start()
    wait_for((folder.runs / "a" / "ready").exists)
    assert main([str(folder.file)]) == 2
    assert "another queue works in" in capsys.readouterr().err
    assert main([str(folder.file), "--status"]) == 0
    assert "running" in capsys.readouterr().out
    queue.terminate()
    queue.communicate(timeout=30)
    assert len(folder.started()) == 1


def test_what_a_killed_queue_left_is_ended_before_anything_starts(folder: Folder, capsys: Output) -> None:
    script = "begin(4); options.resume and sys.exit(0); row(1, 0.5); wait_for_stop()"
    folder.write(f"[entries.a]\nset.script = {json.dumps(script)}\n")
    queue = folder.start()
    wait_for((folder.runs / "a" / "ready").exists)
    wait_for(lambda: Records(folder.runs).running()[1])
    queue.kill()
    queue.communicate(timeout=30)
    assert folder.states()["a"][0] == "running", "its run does not notice"
    assert main([str(folder.file)]) == 0
    assert "a of an earlier queue is still there" in capsys.readouterr().out
    assert (folder.runs / "a" / "checkpoints" / "round-000099.json").exists()
    assert [words[:2] for words in folder.started()] == [["a", "new"], ["a", "resumed"]]


def test_sighup_stays_ignored_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    Stop().listen()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


# Files.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "entries is missing"),
        ("entries = 3", "entries must be a table"),
        ("entries = {}", "entries must have at least one entry"),
        ("[entries]\na = 3", "entries.a must be a table"),
        ("[entries", "is not valid TOML"),
        ("[entires.a]", "unknown key 'entires'; did you mean 'entries'?"),
        ("[entries.a]\nseed = [1]", "unknown key 'entries.a.seed'; did you mean 'seeds'?"),
        ("[entries.a]\nseeds = [-1]", "entries.a.seeds.0 must be greater than or equal to 0, not -1"),
        ("[entries.a]\npriority = 'high'", "entries.a.priority must be a valid integer, not 'high'"),
        ("[entries.a]\nexperiment = 'x'\nonly = 'iid'", "entries.a.only must be a valid list, not 'iid'"),
        ("[entries.a]\nonly = ['iid']", "set entries.a.experiment"),
        ("[entries.a]\nrounds-scale = 0.5", "set entries.a.set.rounds instead"),
        ("[entries.a]\nset = 3", "entries.a.set must be a table"),
        ("set = 3\n[entries.a]", "set must be a table"),
        ("[entries.a]\nset.rounds = [3]", "rounds must be true or false, a number or a string"),
        ("[entries.a]\nset.rounds = 2026-11-29", "rounds must be true or false, a number or a string"),
        ("[entries.a]\nset.run.resume = true", "run.resume is the queue's own"),
        ("[entries.a]\nset.local.lrr = 1", "entries.a: unknown key 'local.lrr'"),
        ("[entries.a]\nset.rounds = 0", "entries.a: rounds must be greater"),
        ("[entries.a]\nexperiment = 'nowhere.toml'", "entries.a: experiment: cannot read"),
        ("[entries.a]\ncode = 'docs'", "entries.a: code: there is no run_simulation.py"),
        ("[entries.'../a']", "'../a' names a folder"),
        ("nice = 20\n[entries.a]\n", "nice must be less than or equal to 19, not 20"),
        ("checkpoint-minutes = -1.0\n[entries.a]", "checkpoint-minutes must be greater than or equal to 0"),
        ("[entries.a]\ngive-up = true", "entries.a.give-up must be a table"),
        ("[entries.a]\ngive-up = { after = 0.5 }", "entries.a.give-up takes either below"),
        ("[entries.a]\ngive-up = { after = 0.5, below = 1.0, above = 2.0 }", "takes either below"),
        ("[entries.a]\ngive-up = { after = 1.5, below = 0.1 }", "give-up.after must be less than 1, not 1.5"),
        ("[entries.a]\ngive-up = { aftr = 0.5 }", "'entries.a.give-up.aftr'; did you mean 'after'?"),
        (
            "[entries.a]\nexperiment = 'experiments/course/b4-heterogeneity.toml'\nonly = ['j5']",
            "entries.a: --only: no axis has a label 'j5'",
        ),
    ],
)
def test_a_bad_file_is_one_line(text: str, message: str, folder: Folder, capsys: Output) -> None:
    assert main([str(folder.write(text, stand_in=False))]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not folder.runs.exists()


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*: No such file"):
        read_queue_file(tmp_path / "nowhere.toml")


def test_a_rule_can_be_switched_off_for_one_entry(folder: Folder) -> None:
    folder.write("give-up = { after = 0.5, below = 0.1 }\n[entries.a]\n[entries.b]\ngive-up = false\n")
    entries = read_queue_file(folder.file).entries
    assert entries["a"].give_up == GiveUp.model_validate({"after": 0.5, "below": 0.1})
    assert entries["b"].give_up is None


def test_what_was_asked_for_is_what_decides_the_run(folder: Folder) -> None:
    def keys(text: str) -> list[str]:
        folder.write(text, stand_in=False)
        return [run.key for run in runs_of(read_queue_file(folder.file))]

    assert keys("[entries.a]\npriority = 1") == keys("[entries.a]")
    assert keys("[entries.a]\nset.rounds = 3") != keys("[entries.a]")
    assert keys("[entries.a]\ngive-up = { after = 0.5, below = 0.1 }") != keys("[entries.a]")


def test_runs_that_are_the_same_share_a_directory(folder: Folder) -> None:
    folder.write("[entries.a]")
    (run,) = runs_of(read_queue_file(folder.file))
    labelled = Run("a", run.entry, "x,j4", {}, folder.runs / "a")
    assert labelled.path == folder.runs / "a" / "x,j4"
    (folder.runs / "a").mkdir(parents=True)
    content = {"runs": {"x,j4": {"directory": "x,j8"}}}
    (folder.runs / "a" / "sweep.json").write_text(json.dumps(content))
    assert labelled.path == folder.runs / "a" / "x,j8"


# The real program.


@pytest.mark.slow
def test_kill_and_resume_end_with_the_bits_of_an_undisturbed_run(folder: Folder, run_small: Runner) -> None:
    rounds = 40
    # The model is the larger one: after its queue's death the run must not end before another has started.
    model: dict[str, Value] = {"model.name": "small-cnn"}
    keys = small_run(model) | model
    settings = "\n".join(f"set.{key} = {json.dumps(value)}" for key, value in keys.items())
    text = f"nice = 0\n[entries.a]\n{settings}\n".replace("set.rounds = 3", f"set.rounds = {rounds}")
    folder.write(text, stand_in=False)

    def rows() -> int:
        return len(Progress(folder.runs / "a").rows)

    def child() -> int:
        return Records(folder.runs).running()[1]

    queue = folder.start()
    wait_for(lambda: rows() >= 5)
    first = child()
    queue.kill()  # its run goes on, until the next queue ends it
    queue.communicate(timeout=30)
    queue = folder.start()
    wait_for(lambda: child() not in (0, first) and rows() >= 10)
    seen = rows()
    wait_for(lambda: rows() > seen)
    os.kill(child(), signal.SIGKILL)
    output, _ = queue.communicate(timeout=240)
    assert queue.returncode == 0, output
    whole = summary(run_small("whole", rounds=rounds, model__name="small-cnn"))
    assert summary(folder.runs / "a")["model_sha256"] == whole["model_sha256"]
    assert folder.states()["a"] == ("done", f"test accuracy {whole['final.test_accuracy']:.2%}")
    log = (folder.runs / ".queue" / "logs" / "a" / "run.txt").read_text()
    assert log.count("resumed after round") >= 2
