"""What trackers wrote is read back: every row once, also of a run that was killed and resumed."""

import contextlib
import importlib.util
import json
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Message

from clients.app import app
from common.defaults import PROJECT_ROOT
from common.errors import UserError
from common.plugins import use_folders
from run_simulation import main
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.observers._tracker import numbers
from server.records.progress import PlainLines
from tests.conftest import Runner, small_config
from tests.rows import untimed

Steps = dict[str, list[tuple[int, float]]]  # column → steps and values, as they come

# The example of the documentation, and one that breaks.
TEXT = (PROJECT_ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
LINES = next(code for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "Tracker" in code)
FAILS = (
    LINES
    + """

class Fails(Lines):
    def write(self, step, values):
        if step == 2:
            raise OSError("no space left")
        super().write(step, values)
"""
)


def read_tensorboard(folder: Path) -> Steps:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: Steps = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():  # raw: nothing is purged
            for value in event.summary.value:
                if value.tensor.float_val:
                    found.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    return found


def read_wandb(folder: Path) -> Steps:
    from wandb.proto.wandb_internal_pb2 import Record

    found: Steps = {}
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for content in log_records(file.read_bytes()):
            record = Record.FromString(content)
            items = {(item.nested_key or [item.key])[0]: item.value_json for item in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    found.setdefault(name, []).append((int(items["_step"]), json.loads(value)))
    return found


def log_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a log in LevelDB's format, after W&B's header of seven bytes."""
    position, record = 7, b""
    while position < len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        length, kind = struct.unpack("<HB", content[position + 4 : position + 7])
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def read_mlflow(folder: Path) -> Steps:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs(
        [e.experiment_id for e in client.search_experiments(filter_string="name = 'flowerbed'")]
    )
    assert run.info.status == "FINISHED"
    assert run.data.params["method.name"] == "fedavg"
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


READERS: dict[str, Callable[[Path], Steps]] = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "mlflow": read_mlflow,
}
INSTALLED = [name for name in READERS if importlib.util.find_spec(name)]


class DyingGrid(SequentialGrid):
    """Ends without a word in the fourth round, after a checkpoint of the second."""

    sent = 0

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        self.sent += any(message.metadata.message_type == "train" for message in messages)
        if self.sent == 4:
            raise MemoryError
        return super().exchange(messages)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Track a run that dies in round 4 and is resumed after round 2, by everything that is installed."""
    path = tmp_path_factory.mktemp("runs") / "tracked"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for grid_class, resume in ((DyingGrid, False), (SequentialGrid, True)):
            config = small_config(path, rounds=5, tracking=",".join(INSTALLED))
            config = config.model_copy(update={"run": config.run.model_copy(update={"resume": resume})})
            grid = grid_class(app, config.clients.count, config.flat())
            with contextlib.nullcontext() if resume else pytest.raises(MemoryError):
                run_experiment(config, grid, PlainLines())
            assert len((path / "metrics.csv").read_text().splitlines()) == 1 + (6 if resume else 4)
    return path


@pytest.mark.parametrize("name", READERS)
def test_every_row_is_tracked_once(name: str, tracked: Path) -> None:
    if name not in INSTALLED:
        pytest.skip(f"the extra '{name}' is not installed: pip install '.[{name}]'")
    rows = pd.read_csv(tracked / "metrics.csv").set_index("round")
    steps = READERS[name](tracked / "tracking" / name)
    expected = {column for column in rows if rows[column].notna().any()}
    compared = set(untimed(rows)) & expected
    assert {column for column in steps if not column.startswith("seconds")} == compared
    for column in compared:
        known = rows[column].dropna()
        assert [step for step, _ in steps[column]] == list(known.index)
        assert [value for _, value in steps[column]] == pytest.approx(list(known), rel=1e-6)
    assert [step for step, _ in steps["seconds"]] == list(rows.index)


def test_tracking_changes_no_bit(tracked: Path, run_small: Runner) -> None:
    plain, own = (json.loads((path / "summary.json").read_text()) for path in (run_small(rounds=5), tracked))
    assert plain["model_sha256"] == own["model_sha256"]


def lines(run: Path, name: str = "lines") -> list[list[Any]]:
    return [json.loads(line) for line in (run / "tracking" / name / "rows.jsonl").read_text().splitlines()]


pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "mine"
    (folder / "observers").mkdir(parents=True)
    (folder / "observers" / "lines.py").write_text(LINES)
    (folder / "observers" / "fails.py").write_text(FAILS)
    yield folder
    use_folders("")


def test_a_tracker_of_ones_own_and_one_that_is_added_later(
    plugins: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = [
        part
        for text in ("clients.count=3", "local.steps=1", "rounds=2", "partition.name=iid", "evaluate.every=2")
        for part in ("--set", text)
    ]
    run = [*small, "--run-dir", str(tmp_path / "run")]
    assert main(run) == 0
    again = [*run, "--resume", "--plugins", str(plugins), "--set", "tracking=lines"]
    assert main(again) == 0  # nothing is left to compute: the tracker gets what there is
    (title, rounds), *rows, end = lines(tmp_path / "run")
    assert (title, rounds) == (f"{tmp_path.name}/run", 2)
    assert [step for step, _ in rows] == [0, 1, 2]
    assert end[0] == "complete"
    assert "test_loss" in rows[0][1]
    assert "test_loss" not in rows[1][1]  # not measured: not tracked
    before = rows

    further = [*again, "--set", "rounds=4"]
    assert main(further) == 0
    _, *rows, _ = lines(tmp_path / "run")
    assert [step for step, _ in rows] == [0, 1, 2, 3, 4]
    assert rows[:3] == before

    monkeypatch.setattr(DyingGrid, "sent", 3)  # its first round is its last
    with monkeypatch.context() as patch:
        patch.setattr("runtimes.sequential.SequentialGrid", DyingGrid)
        with pytest.raises(MemoryError):
            main([*again, "--set", "rounds=5"])
    *_, end = lines(tmp_path / "run")
    assert end[0] == "stopped"  # although it had ended well, with fewer rounds

    failing = [*small, "--plugins", str(plugins), "--set", "tracking=fails", "--run-dir", str(tmp_path / "b")]
    capsys.readouterr()
    assert main(failing) == 0
    assert (
        "tracking 'fails' failed, the run continues without: OSError: no space left"
        in capsys.readouterr().out
    )
    assert "tracking 'fails' failed" in (tmp_path / "b" / "log.txt").read_text()


def test_numbers_are_what_is_finite() -> None:
    row = {
        "round": 3,
        "a": 1,
        "b": "2.5",
        "c": "",
        "d": None,
        "e": "nan",
        "f": float("inf"),
        "g": "text",
        "h": True,
    }
    assert numbers(row) == {"a": 1.0, "b": 2.5, "h": 1.0}


@pytest.mark.parametrize("name", READERS)
def test_a_missing_package_is_one_line_before_anything_starts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == name else find(module))
    assert main(["--set", f"tracking={name}", "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"'{name}' needs the package {name}, which is not installed: pip install '.[{name}]'" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"tracking": "tensorbord"},
            r"no 'tensorbord'; did you mean 'tensorboard'\? \(available: mlflow, tensorboard, wandb\)$",
        ),
        ({"observers": "drifts"}, r"did you mean 'drift'\? \(available: drift, profile, update-norm\)$"),
        ({"tracking": "update-norm"}, "tracks nothing: name it in the key observers"),
        ({"tracking": "wandb,,mlflow"}, "empty name"),
        ({"tracking": "wandb,wandb"}, "twice"),
        ({"observers": "tensorboard"}, "name it in the key tracking"),
    ],
)
def test_what_is_no_tracker_is_refused(keys: dict[str, str], message: str, run_small: Runner) -> None:
    with pytest.raises(UserError, match=message):
        run_small(**keys)
