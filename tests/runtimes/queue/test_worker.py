"""A queue of experiments over real processes: order, and ends of all kinds."""

import json
import os
from pathlib import Path

import pytest

from runtimes.queue.__main__ import main
from runtimes.queue.worker import MAX_ATTEMPTS
from tests.runtimes.queue.folder import Folder, Output, wait_for


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


def test_a_full_disk_ends_the_queue_and_fails_no_run(folder: Folder, capsys: Output) -> None:
    said = "error: [Errno 28] No space left on device; what was committed is kept"
    folder.write(f"[entries.a]\nset.script = {json.dumps(f'print({said!r}); sys.exit(1)')}\n[entries.b]\n")
    assert main([str(folder.file)]) == 1
    assert capsys.readouterr().err == (
        "error: a ended: [Errno 28] No space left on device; what was committed is kept; the same command"
        " resumes\n"
    )
    assert folder.names() == ["a"]
    assert {state for state, _ in folder.states().values()} <= {"waiting", "stopped"}


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
