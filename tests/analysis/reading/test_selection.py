"""What paths and patterns stand for."""

import json
from pathlib import Path

import pytest

from analysis.comparison.groups import load_groups, published_numbers
from analysis.reading.run_directory import NoDataError
from analysis.reading.runs import data_remark, default_metric, default_metrics, load_run
from analysis.reading.selection import begun_runs, chosen, chosen_runs, unfinished_of
from common.errors import UserError


@pytest.fixture
def folder(make_run, tmp_path):
    """A folder with two runs, one that has not ended, a file and a foreign folder."""
    make_run("runs/a")
    make_run("runs/b")
    half = make_run("runs/half")
    (half / "config.toml").write_text("rounds = 3\n")
    (half / "summary.json").unlink()
    (tmp_path / "runs" / "foreign").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("x")
    return tmp_path / "runs"


def test_folder_and_pattern_stand_for_the_finished_runs(folder):
    expected = [folder / "a", folder / "b"]
    with pytest.warns(UserWarning, match=r"not finished, and left out: .*half"):
        assert chosen([folder / "*"]) == expected
    with pytest.warns(UserWarning, match=r"not run directories, and left out: .*notes\.txt"):
        assert chosen_runs([folder / "a", folder / "b", folder / "notes.txt"]) == expected
    assert unfinished_of([folder / "*"]) == ["half"]
    with pytest.warns(UserWarning, match="foreign"):
        assert begun_runs([folder / "*"]) == [*expected, folder / "half"]


@pytest.mark.parametrize("name", ["notes.txt", "foreign", "nowhere", "x*"])
def test_nothing_that_is_a_run(folder, name):
    with pytest.raises(UserError):
        chosen([folder / name])


def test_a_run_without_an_end_alone(folder):
    with pytest.warns(UserWarning, match="not finished, and shown as far as it is: .*half"):
        assert chosen([folder / "half"]) == [folder / "half"]
    run = load_run(folder / "half", "test_accuracy")
    assert (run.rounds, run.final, run.config["rounds"]) == (4, 0.6, 3)
    (folder / "half" / "metrics.csv").unlink()
    with pytest.raises(NoDataError, match="has not recorded a round yet"):
        chosen([folder / "half"])


def _sweep(path: Path, published: dict[str, float | None]) -> None:
    runs = {
        name: {"labels": {"axis": name}, "directory": name, "published": number}
        for name, number in published.items()
    }
    content = {"axes": {"axis": list(published)}, "metrics": ["test_accuracy"], "runs": runs}
    (path / "sweep.json").write_text(json.dumps(content))


def test_a_damaged_sweep_is_left_out_and_costs_its_runs_their_published_number_alone(make_run, tmp_path):
    for sweep in ("whole", "damaged"):
        make_run(f"{sweep}/a")
        _sweep(tmp_path / sweep, {"a": 50.0})
    (tmp_path / "damaged" / "sweep.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"left out: .*damaged/sweep.json is damaged"):
        assert chosen([tmp_path / "whole", tmp_path / "damaged"]) == [tmp_path / "whole"]
    with pytest.warns(UserWarning, match="left out"):
        assert chosen([tmp_path]) == [tmp_path / "whole"]
    with pytest.raises(UserError, match="is damaged"):
        chosen([tmp_path / "damaged"])
    groups = load_groups([tmp_path / "damaged" / "a"], "test_accuracy")
    with pytest.warns(UserWarning, match="no published number for a: .*is damaged"):
        assert published_numbers(groups) == {}


def test_published_numbers_of_several_sweeps_and_single_runs(make_run, tmp_path):
    for sweep, number in (("one", 50.0), ("two", 60.0)):
        for name in ("a", "b"):
            (make_run(f"{sweep}/{name}") / "config.toml").write_text("")
        _sweep(tmp_path / sweep, {"a": number, "b": None})
    groups = load_groups([tmp_path / "one", tmp_path / "two"], "test_accuracy")
    assert published_numbers(groups) == {"one: a": 50.0, "two: a": 60.0}
    assert published_numbers(load_groups([tmp_path / "one"], "test_loss")) == {}
    alone = load_groups([tmp_path / "two" / "a"], "test_accuracy")
    assert list(published_numbers(alone).values()) == [60.0]


@pytest.mark.parametrize(
    ("first", "second", "metric"),
    [
        ("personal_accuracy", "personal_accuracy", "personal_accuracy"),
        ("personal_accuracy", "federated_accuracy", "personal_accuracy|federated_accuracy"),
        ("personal_accuracy", "x", "test_accuracy"),
        ("test_accuracy_mean", "x", "test_accuracy_mean|test_accuracy"),
        ("x", "x", "test_accuracy"),
    ],
)
def test_what_a_report_is_about(make_run, first, second, metric):
    runs = []
    for name, column in (("a", first), ("b", second)):
        runs.append(make_run(name))
        file = runs[-1] / "metrics.csv"
        lines = file.read_text().splitlines()
        file.write_text("\n".join([f"{lines[0]},{column}", *(f"{line},0.5" for line in lines[1:])]) + "\n")
    assert default_metric(runs) == metric
    others = ["personal_accuracy|federated_accuracy"] if (first, second) == ("personal_accuracy", "x") else []
    assert default_metrics(runs) == [metric, *others]


def test_different_data_are_named(make_run):
    runs = []
    for name, dataset in (("a", "digits"), ("b", "cifar10")):
        path = make_run(name)
        summary = json.loads((path / "summary.json").read_text())
        summary["config"] = {**summary["config"], "dataset.name": dataset, "dataset.root": name}
        (path / "summary.json").write_text(json.dumps(summary))
        runs.append(load_run(path, "test_accuracy"))
    assert "digits, cifar10" in data_remark(runs)
    assert data_remark(runs[:1]) == ""
