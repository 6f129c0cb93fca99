"""What the live page says of runs that wait, run, ended, were killed, or are no runs."""

import fcntl
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.live import files
from analysis.live.files import is_written, read_rows
from analysis.live.snapshot import find_runs, snapshot, thinned, watchable
from common.errors import UserError

HEADER = "round,train_loss,test_loss,test_accuracy,failures,seconds\n"


def make_run(
    path: Path,
    rounds: int = 10,
    done: int = 4,
    seconds: float = 2.0,
    log: str = "",
    summary: dict[str, Any] | None = None,
) -> Path:
    path.mkdir(parents=True)
    (path / "config.toml").write_text(f'rounds = {rounds}\nmethod.name = "fedavg"\n')
    rows = [
        f"{n},{1 / (n + 1):.6g},{2 / (n + 1):.6g},{n / 100},{n % 2},{seconds}\n" for n in range(1, done + 1)
    ]
    (path / "metrics.csv").write_text(HEADER + "0,,2.3,0.1,,9.5\n" + "".join(rows))
    (path / "lock").touch()
    if log:
        (path / "log.txt").write_text(log)
    if summary:
        (path / "summary.json").write_text(json.dumps(summary))
    return path


def only(path: Path) -> dict[str, Any]:
    (run,) = snapshot([path])["runs"]
    return dict(run)


def test_a_run_that_runs(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", seconds=60.0)
    with (run / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now, data = time.time(), snapshot([run])
    (shown,) = data["runs"]
    assert (shown["state"], shown["round"], shown["total"], shown["failures"]) == ("running", 4, 10, 2)
    assert shown["seconds_per_round"] == 60.0  # without the evaluation of the initial model
    assert shown["end"] - now == pytest.approx(360, abs=5)
    assert data["end"] - now == pytest.approx(360, abs=5)
    assert shown["latest"]["test_accuracy"] == 0.04
    assert data["curves"]["test_loss"] == [[(0, 2.3), (1, 1.0), (2, 0.666667), (3, 0.5), (4, 0.4)]]
    assert data["curves"]["train_loss"][0][0] == (1, 0.5)


def test_reading_takes_no_lock(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with (run / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_written(run, 1.0)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert not is_written(run, 1.0)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_without_a_list_of_locks_the_age_of_the_rows_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LOCKS", tmp_path / "none")
    run = make_run(tmp_path / "run")
    assert is_written(run, 1.0)
    later = time.time() + 200
    monkeypatch.setattr(time, "time", lambda: later)
    assert not is_written(run, 1.0)
    assert is_written(run, 100.0)


ENDED = "2026-01-01 00:00:00  ended by "
DIVERGED = f"{ENDED}DivergedError: the loss\nis nan\n"


@pytest.mark.parametrize(
    ("made", "state", "remark"),
    [
        ({"summary": {"rounds": 10, "stopped": ""}}, "finished", ""),
        ({"summary": {"rounds": 4, "stopped": "no better"}}, "finished", "no better"),
        ({"summary": {"rounds": 4, "stopped": ""}}, "stopped", "--resume"),  # continued to 10, and killed
        ({"log": f"{ENDED}KeyboardInterrupt: \n"}, "stopped", "--resume"),
        ({"log": DIVERGED}, "failed", "DivergedError: the loss is nan"),
        ({"log": f"{DIVERGED}2026-01-01 00:00:01  resumed\n"}, "stopped", ""),
        ({}, "stopped", "--resume"),
    ],
)
def test_a_run_that_ended(tmp_path: Path, made: dict[str, Any], state: str, remark: str) -> None:
    shown = only(make_run(tmp_path / "run", **made))
    assert shown["state"] == state
    assert remark in shown["remark"]
    assert shown["end"] is None


def test_a_value_that_is_not_finite_is_the_latest(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "metrics.csv").write_text(HEADER + "1,0.5,0.4,0.1,0,1\n2,nan,-inf,0.2,0,1\n3,nan,0.3,,0,1\n")
    latest = snapshot([run], ["train_loss", "test_loss", "test_accuracy"])["runs"][0]["latest"]
    assert latest == {"train_loss": "nan", "test_loss": 0.3, "test_accuracy": 0.2}


def test_half_written_and_damaged_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with (run / "metrics.csv").open("a") as file:
        file.write("5,0.1,0.2")  # a line that is being written
    assert only(run)["round"] == 4
    (run / "metrics.csv").write_text(HEADER + "0,nan,inf,x,1e999\n\n,,,\n3,0.5,1,1,0,2\n")
    assert read_rows(run / "metrics.csv").curves["train_loss"] == [(3, 0.5)]
    (run / "metrics.csv").write_bytes(b"\xff\xfe\x00\n")
    assert "cannot be read" in only(run)["remark"]
    (run / "summary.json").write_text("[1, 2")
    (run / "config.toml").write_text("rounds = [")
    assert only(run)["total"] is None


@settings(max_examples=60)
@given(
    content=st.binary(max_size=200),
    name=st.sampled_from(["metrics.csv", "summary.json", "config.toml", "log.txt"]),
)
def test_whatever_is_in_a_file_the_page_is_served(tmp_path: Path, content: bytes, name: str) -> None:
    run = tmp_path / "run"
    if not run.exists():
        make_run(run, log="2026-01-01 00:00:00  ended by ValueError: x\n")
    before = (run / name).read_bytes() if (run / name).exists() else None
    (run / name).write_bytes(content)
    json.dumps(snapshot([run]), allow_nan=False)
    (run / name).unlink() if before is None else (run / name).write_bytes(before)


def test_a_sweep_shows_what_waits(tmp_path: Path) -> None:
    make_run(tmp_path / "a,x", done=10, seconds=3.0, summary={"rounds": 10, "stopped": ""})
    running = make_run(tmp_path / "b,x", rounds=10, done=5, seconds=3.0)
    names = {"a,x": "a,x", "a,y": "a,x", "b,x": "b,x", "b,y": "b,y", "odd": "../../etc"}
    runs = {name: {"directory": folder, "labels": {}} for name, folder in names.items()}
    (tmp_path / "sweep.json").write_text(json.dumps({"axes": {}, "metrics": [], "runs": runs}))
    with (running / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        data, now = snapshot([tmp_path]), time.time()
    assert [run["name"] for run in data["runs"]] == ["a,x", "b,x", "b,y"]  # each directory once, none outside
    assert data["counts"] == {"finished": 1, "running": 1, "waiting": 1}
    assert data["end"] - now == pytest.approx(5 * 3 + 30, abs=5)


def test_folders_of_runs_and_several_paths(tmp_path: Path) -> None:
    make_run(tmp_path / "one" / "trials" / "t1")
    make_run(tmp_path / "two")
    assert set(find_runs(tmp_path)) == {"one/trials/t1", "two"}
    names = [run["name"] for run in snapshot([tmp_path / "one", tmp_path / "two"])["runs"]]
    assert names == [f"{tmp_path}/one/trials/t1", f"{tmp_path}/two"]


def test_patterns(tmp_path: Path) -> None:
    make_run(tmp_path / "a1")
    make_run(tmp_path / "a2")
    make_run(tmp_path / "[b]")
    (tmp_path / "a-file").touch()
    (tmp_path / "a-foreign").mkdir()
    assert watchable([tmp_path / "a*", tmp_path / "a1"]) == [tmp_path / "a1", tmp_path / "a2"]
    assert watchable([tmp_path / "[b]"]) == [tmp_path / "[b]"]  # a folder of this name comes first
    with pytest.raises(UserError, match="there is no directory"):
        watchable([tmp_path / "c*"])


def test_a_directory_that_vanishes_is_said(tmp_path: Path) -> None:
    data = snapshot([tmp_path / "gone"])
    assert data["runs"] == []
    assert data["missing"] == [str(tmp_path / "gone")]


def test_a_chosen_column(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert snapshot([run], ["seconds", "no such"])["metrics"] == ["seconds"]
    assert snapshot([run], ["no such"])["metrics"][:2] == ["test_accuracy", "train_loss"]


def test_long_curves_keep_both_ends() -> None:
    curve = [(n, math.sin(n)) for n in range(12345)]
    short = thinned(curve)
    assert len(short) == 400
    assert (short[0], short[-1]) == (curve[0], curve[-1])
    assert len({number for number, _ in short}) == 400
