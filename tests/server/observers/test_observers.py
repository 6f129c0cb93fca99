"""Observers of the user's: what they see, in which order, and that a resumed run is the one that went on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from common.errors import UserError
from server.observers import Observer
from tests.conftest import Runner

COUNTER = """
from server.observers import Observer

class Counter(Observer):
    def __init__(self, parts):
        super().__init__(parts)
        self.rounds = 0
        self.seen = 0

    def start(self, run):
        super().start(run)
        self.rows = run.run_directory.add_log("counted", ("round", "rounds"))

    def replies(self, current, replies):
        for reply in replies:
            self.seen += 1
            yield reply

    def on_train(self, current):
        self.rounds += 1
        current.row["replies_seen"] = self.seen

    def stop_reason(self, current):
        return "enough" if self.rounds == 5 else ""

    def on_round(self, current):
        self.rows.append({"round": current.number, "rounds": self.rounds})

    def state(self):
        return {"rounds": self.rounds, "seen": self.seen}

    def restore(self, state):
        self.rounds, self.seen = state["rounds"], state["seen"]
"""


@pytest.fixture
def plugins(tmp_path: Path) -> str:
    folder = tmp_path / "mine" / "observers"
    folder.mkdir(parents=True)
    (folder / "counter.py").write_text(COUNTER)
    return str(tmp_path / "mine")


def model_hash(run_directory: Path) -> str:
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])


def test_one_from_a_folder_adds_columns_files_and_a_reason_to_stop(run_small: Runner, plugins: str) -> None:
    run = run_small(rounds=8, plugins=plugins, observers="counter, update-norm")
    rows = pd.read_csv(run / "metrics.csv")
    assert rows["round"].tolist() == [0, 1, 2, 3, 4, 5]  # it stopped
    assert rows["replies_seen"].loc[1:].tolist() == [3, 6, 9, 12, 15]
    assert pd.read_csv(run / "counted.csv")["rounds"].tolist() == [0, 1, 2, 3, 4, 5]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["stopped"] == "enough"
    assert summary["final.test_accuracy"] == pytest.approx(rows["test_accuracy"].iloc[-1], abs=1e-5)


def test_what_it_keeps_is_in_the_checkpoint(run_small: Runner, plugins: str) -> None:
    options = {"plugins": plugins, "observers": "counter"}
    whole = run_small("whole", rounds=4, **options)
    run_small("parts", rounds=3, **options)
    parts = run_small("parts", rounds=4, run__resume=True, **options)
    assert (parts / "counted.csv").read_text() == (whole / "counted.csv").read_text()
    columns = ["replies_seen", "train_loss", "test_loss"]
    found, expected = (pd.read_csv(run / "metrics.csv")[columns] for run in (parts, whole))
    pd.testing.assert_frame_equal(found, expected)


def test_observers_have_no_say_in_the_model_and_may_change_on_resume(run_small: Runner) -> None:
    plain = run_small("plain", rounds=4)
    run_small("observed", rounds=2, observers="update-norm")
    observed = run_small("observed", rounds=4, run__resume=True, observers="")
    assert model_hash(observed) == model_hash(plain)


def test_the_norm_of_an_update(run_small: Runner) -> None:
    second = run_small("second", rounds=2)
    third = run_small("third", rounds=3, observers="update-norm")
    before, after = (load_file(run / "model.safetensors") for run in (second, third))
    squares = [((after[name] - before[name]).double() ** 2).sum() for name in before]
    found = pd.read_csv(third / "metrics.csv")["update_norm"]
    assert np.isnan(found[0])
    assert found[3] == pytest.approx(float(sum(squares)) ** 0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("update-nrm", "observers: there is no 'update-nrm'; did you mean 'update-norm'"),
        ("_rows", "observers: there is no '_rows'"),
        ("json:dumps", "defines no subclass of Observer"),
    ],
)
def test_a_wrong_name_is_one_line_before_anything_is_written(
    name: str, message: str, run_small: Runner, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        run_small(observers=name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


class KeepsTensor(Observer):
    def state(self) -> dict[str, Any]:
        return {"kept": torch.zeros(1)}


def test_state_that_cannot_be_stored_ends_the_run_in_its_first_round(
    run_small: Runner, tmp_path: Path
) -> None:
    name = "tests.server.observers.test_observers:KeepsTensor"
    with pytest.raises(UserError, match=r"state\(\) returns cannot be checkpointed"):
        run_small(observers=name, rounds=3, checkpoint__every=100)
    assert pd.read_csv(tmp_path / "run" / "metrics.csv")["round"].tolist() == [0, 1]
