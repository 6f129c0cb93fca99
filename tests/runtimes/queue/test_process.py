"""Signals to a queue, and queues that are killed."""

import json
import os
import signal

import pytest

from common.sections import Value
from runtimes.queue.__main__ import main
from runtimes.queue.process import Stop
from runtimes.queue.records import Records
from runtimes.queue.runs import Progress
from tests.conftest import Runner, small_run
from tests.runtimes.queue.folder import Folder, Output, wait_for
from tests.system.commands import summary


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
