"""Reading run directories, whole and broken."""

import importlib
import json

import pandas as pd
import pytest

from analysis.reading.run_directory import (
    NoDataError,
    read_clients,
    read_heads,
    read_label_distribution,
    read_metrics,
    read_summary,
)
from analysis.reading.sweep import read_sweep
from common.errors import UserError

READERS = {
    "metrics.csv": read_metrics,
    "clients.csv": read_clients,
    "label_distribution.csv": read_label_distribution,
    "summary.json": read_summary,
}


def test_metrics_keep_gaps(make_run):
    metrics = read_metrics(make_run())

    assert metrics["round"].tolist() == [0, 1, 2, 3, 4]
    assert metrics["test_accuracy"].dropna().tolist() == [0.1, 0.4, 0.7, 0.6]
    assert pd.isna(metrics["train_loss"][0])


def test_clients(make_run):
    assert read_clients(make_run())["client_id"].tolist() == [0, 1, 0, 2, 0, 1, 0, 1]


def test_label_distribution_is_clients_by_classes(make_run):
    counts = read_label_distribution(make_run())

    assert counts.index.tolist() == [0, 1, 2, 3]
    assert counts.columns.tolist() == ["class 0", "class 1", "class 2"]
    assert counts.to_numpy().tolist() == [[5, 0, 1], [0, 5, 1], [2, 2, 2], [1, 0, 0]]


def test_summary(make_run):
    summary = read_summary(make_run(method__name="moon"))

    assert summary["config"]["method.name"] == "moon"
    assert summary["rounds"] == 4


@pytest.mark.parametrize("name", READERS)
def test_missing_directory(name, tmp_path):
    with pytest.raises(UserError, match=r"no run directory .*nowhere"):
        READERS[name](tmp_path / "nowhere")


@pytest.mark.parametrize("name", READERS)
def test_missing_file(name, tmp_path):
    with pytest.raises(NoDataError, match=f"has no {name}"):
        READERS[name](tmp_path)


def test_a_file_that_only_some_runs_have_says_which(tmp_path):
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(NoDataError, match=r"has no heads\.csv: runs with analysis\.feature-rounds do"):
        read_heads(tmp_path)


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith("csv")])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "has no column"),
        ('a,b\n1,2,3\n"\n', "not a readable CSV"),
        ("a,b\n1,2\n3,", "is cut off in its last row"),
    ],
)
def test_broken_table(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)

    with pytest.raises(UserError, match=message) as raised:
        READERS[name](tmp_path)
    assert "\n" not in str(raised.value)


def test_table_without_rows(tmp_path):
    (tmp_path / "metrics.csv").write_text("round,test_loss\n")

    with pytest.raises(NoDataError, match="no rows"):
        read_metrics(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("{", "not valid JSON"), ("[]", "not the summary")])
def test_broken_summary(text, message, tmp_path):
    (tmp_path / "summary.json").write_text(text)

    with pytest.raises(UserError, match=message):
        read_summary(tmp_path)


@pytest.mark.parametrize("command", ["compare", "costs"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", "round,test_accuracy,bytes_up,bytes_down\n0,x,y,z\n"),
        ("metrics.csv", "round,test_accuracy\na,1\n"),
        ("summary.json", '{"rounds": "x"}'),
        ("summary.json", "[" * 100_000),
    ],
)
def test_damaged_files_are_one_line(command, name, content, make_run, capsys):
    run = make_run()
    (run / name).write_text(content)
    assert importlib.import_module(f"analysis.comparison.{command}").main([str(run)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        {"axes": {"a": ["x"]}, "runs": {"x": {"labels": {"b": "x"}, "directory": "x", "published": None}}},
        {"axes": {"a": ["x"]}, "runs": {"x": {"labels": {"a": "y"}, "directory": "x", "published": None}}},
        {"axes": {"a": ["x"]}, "runs": {"x": {"labels": {"a": "x"}, "directory": "x", "published": "y"}}},
        {"axes": 3, "runs": {}},
    ],
)
def test_a_damaged_sweep_is_one_line(content, tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"metrics": ["test_accuracy"], **content}))
    with pytest.raises(UserError, match=r"sweep\.json is damaged"):
        read_sweep(tmp_path)
