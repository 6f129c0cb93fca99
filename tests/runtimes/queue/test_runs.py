"""The runs of a queue: their commands and directories, and when one is given up."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtimes.queue.file import GiveUp, read_queue_file
from runtimes.queue.runs import Progress, Run, runs_of
from tests.runtimes.queue.folder import Folder


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


def test_the_last_checkpoint_is_found_among_files_of_other_names(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    assert Progress(tmp_path).committed_round == -1
    folder.mkdir()
    for name in ("round-000002.json", "round-000010.json", "round-000030-copy.json", "round-000040.json.tmp"):
        (folder / name).touch()
    assert Progress(tmp_path).committed_round == 10
