"""Splits of the data without training."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main as analysis
from common.command_line import guarded
from common.config import Config
from common.config_values import merge, to_toml
from common.defaults import default_values
from runtimes.splits import describe, label_table, splits_of

FILE = """
dataset.name = "digits"
clients.count = 10
[axes.split]
iid.partition.name = "iid"
two = { partition.name = "classes", partition.classes-per-client = 2 }
[axes.rate]
low.optimizer.learning-rate = 0.01
high.optimizer.learning-rate = 0.1
"""


def run(*arguments: object) -> int:
    return guarded(lambda: analysis(["splits", *map(str, arguments)]))


def test_each_split_of_a_file_is_there_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.toml").write_text(FILE)
    table = tmp_path / "x.csv"
    assert run(tmp_path / "x.toml", "--out", tmp_path / "x.svg", "--table", table) == 0
    rows = pd.read_csv(table).set_index("split")
    assert list(rows.index) == [f"{name} (and 1 with the same split)" for name in ("iid,low", "two,low")]
    assert rows["samples"].tolist() == [1437, 1437]
    assert rows["labels of a client"].tolist() == [10, 2]
    assert not (tmp_path / "iid,low").exists(), "nothing is trained"
    capsys.readouterr()


def test_distance_is_zero_for_equal_shares_and_largest_for_one_label() -> None:
    even = pd.DataFrame([[5, 5], [10, 10]])
    one = pd.DataFrame([[8, 0], [0, 8], [0, 0]])
    (same, apart) = describe({"even": even, "one": one})
    assert same == ["even", "2", "30", "10", "15", "20", "2", "0.000"]
    assert apart == ["one", "3", "16", "0", "8", "8", "1", "0.500"]


def test_the_table_is_what_a_run_records() -> None:
    config = Config.from_flat(merge({"dataset.name": "digits", "clients.count": 5, "seed": 3}))
    table = label_table(config)
    assert table.shape == (5, 10)
    assert table.to_numpy().sum() == 1437
    [(name, again)] = splits_of(iter([("a", config), ("b", config)])).items()
    assert name == "a (and 1 with the same split)"
    assert np.array_equal(again, table)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.toml"], "nowhere.toml"),
        (["--set", "partition.name=nodes"], "error: partition.name: there is no 'nodes'"),
        (["--seeds", "a"], "--seeds takes integers"),
        (["--out", "x.jpeg"], "must end with"),
        ([".", "--set", "seed=1"], "are for experiment files"),
    ],
)
def test_wrong_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_pattern_and_a_folder_take_what_has_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    whole = [to_toml({**default_values(), "clients.count": 10, "seed": seed}) for seed in (1, 2)]
    contents = {"a": whole[0], "b": whole[1], "broken": "x = = 3\n", "foreign": "[tool]\nx = 1\n", "bare": ""}
    for name, text in contents.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        if text:
            (tmp_path / "runs" / name / "config.toml").write_text(text)
    for place in (tmp_path / "runs", tmp_path / "runs" / "*"):
        recwarn.clear()
        assert run(place, "--out", tmp_path / "splits.svg", "--table", tmp_path / "splits.csv") == 0
        assert [line.split(",")[0] for line in (tmp_path / "splits.csv").read_text().splitlines()[1:]] == [
            "a",
            "b",
        ]
        said = " ".join(str(warning.message) for warning in recwarn)
        assert "broken" in said
        assert "tool.x" in said
    assert run(tmp_path / "runs" / "bare") == 2
