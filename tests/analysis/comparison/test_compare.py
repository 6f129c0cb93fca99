"""Comparison of runs: tables, grouping of seeds, picture, errors."""

import dataclasses
import json

import pytest

from analysis.comparison.compare import main, run_table, seed_table
from analysis.reading.runs import (
    differing_keys,
    group_seeds,
    load_run,
    mean_and_deviation,
    telling_keys,
)
from analysis.tables import as_markdown
from tests.analysis.conftest import picture_is_drawn


@pytest.fixture
def run_dirs(make_run):
    return [
        make_run("a", [0.1, 0.5, 0.6], seed=0),
        make_run("b", [0.1, None, 0.8], seed=1),
        make_run("c", [0.2, 0.9, 0.7], seed=0, method__name="fedprox", method__mu=0.1),
    ]


@pytest.fixture
def runs(run_dirs):
    return [load_run(run_dir, "test_accuracy") for run_dir in run_dirs]


def test_only_keys_that_differ_are_columns(runs):
    assert differing_keys(runs) == ["method.mu", "method.name", "seed"]
    assert differing_keys(runs[:1]) == []


def test_defaults_that_differ_are_shown_and_name_no_run(make_run):
    defaults = {
        "a": {"method.weighting": "examples"},
        "b": {"method.weighting": "uniform", "method.option": 2},
        "c": {"method.option": 2},
    }
    paths = [
        make_run("a", method__name="fedavg"),
        make_run("b", method__name="scaffold"),
        make_run("c", method__name="scaffold", method__weighting="uniform", seed=1),
    ]
    for path in paths:
        summary = json.loads((path / "summary.json").read_text())
        (path / "summary.json").write_text(json.dumps({**summary, "defaults": defaults[path.name]}))
    runs = [load_run(path, "test_accuracy") for path in paths]
    assert differing_keys(runs[:2]) == ["method.name", "method.weighting"]  # FedAvg has no option
    assert telling_keys(runs[:2]) == ["method.name"]
    assert [len(group) for group in group_seeds(runs)] == [1, 2]


def test_runs_that_differ_in_the_seed_are_one_group(runs):
    assert [[run.path.name for run in group] for group in group_seeds(runs)] == [["a", "b"], ["c"]]


def test_deviation_is_that_of_a_sample():
    assert mean_and_deviation([0.6, 0.8]) == pytest.approx((0.7, 0.1 * 2**0.5))


def test_run_table(runs):
    header, rows = run_table(runs, "test_accuracy")

    assert header[:4] == ["run", "method.mu", "method.name", "seed"]
    assert header[4:] == [
        "final test accuracy (%)", "best test accuracy (%)", "rounds", "seconds",
    ]  # fmt: skip
    assert rows == [
        ["a", "-", "fedavg", "0", "60.00", "60.00", "2", "150.0"],
        ["b", "-", "fedavg", "1", "80.00", "80.00", "2", "150.0"],
        ["c", "0.1", "fedprox", "0", "70.00", "90.00", "2", "150.0"],
    ]


def test_seed_table(runs):
    _, rows = seed_table(runs, "test_accuracy")

    assert rows[0] == [
        "-",
        "fedavg",
        "2",
        "70.00 ± 14.14",
        "70.00 ± 14.14",
        "2",
        "150.0 ± 0.0",
    ]
    assert rows[1] == ["0.1", "fedprox", "1", "70.00", "90.00", "2", "150.0"]


def test_the_mean_of_the_last_ten_rounds_is_a_column_if_a_run_has_ten(make_run, run_dirs):
    long = load_run(make_run("long", [0.1, *[0.4, 0.6] * 5]), "test_accuracy")
    header, rows = run_table([load_run(run_dirs[0], "test_accuracy"), long], "test_accuracy")
    assert [row[header.index("last ten test accuracy (%)")] for row in rows] == ["-", "50.00"]


def test_best_loss_is_the_least(run_dirs):
    run = load_run(run_dirs[2], "test_loss")

    assert run.best == pytest.approx(0.2)
    assert run.final == pytest.approx(0.6)


def test_markdown_escapes_bars():
    assert as_markdown(["a", "b"], [["1|2", "3"]]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |"


def test_command_prints_both_tables_and_draws(run_dirs, tmp_path, capsys):
    out = tmp_path / "new" / "comparison.png"

    assert main([*map(str, run_dirs), "--out", str(out), "--markdown"]) == 0

    text = capsys.readouterr().out
    assert "| c | 0.1 | fedprox | 0 | 70.00 | 90.00 | 2 | 150.0 |" in text
    assert "70.00 ± 14.14" in text
    assert picture_is_drawn(out)


def test_command_prints_one_table_without_repeated_seeds(run_dirs, capsys):
    assert main([str(run_dirs[0]), str(run_dirs[2])]) == 0

    text = capsys.readouterr().out
    assert "fedprox" in text
    assert "±" not in text


def test_unknown_metric_lists_the_known_ones(run_dirs, capsys):
    assert main([str(run_dirs[0]), "--metric", "accuracy"]) == 2

    error = capsys.readouterr().err
    assert "no metric 'accuracy'; did you mean 'test_accuracy'? (measured: train_loss, test_loss" in error


def test_missing_run(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2

    assert "no run directory" in capsys.readouterr().err


def test_metric_without_values(make_run, capsys):
    assert main([str(make_run("d", [0.1, 0.2])), "--metric", "train_loss"]) == 0
    run_dir = make_run("e", [0.1, 0.2])
    (run_dir / "metrics.csv").write_text("round,test_accuracy\n1,\n")

    assert main([str(run_dir)]) == 2
    assert "no value of 'test_accuracy'" in capsys.readouterr().err


def test_rounds_that_differ_are_one_column(make_run):
    found = [make_run("a", [0.1, 0.5, 0.6], rounds=2), make_run("b", [0.1, 0.5, 0.6, 0.7], rounds=3)]
    loaded = [load_run(run_dir, "test_accuracy") for run_dir in found]
    for header, rows in (run_table(loaded, "test_accuracy"), seed_table(loaded, "test_accuracy")):
        assert header.count("rounds") == 1
        assert [row[header.index("rounds")] for row in rows] == ["2", "3"]


def test_a_run_made_twice_says_nothing_of_the_spread_over_seeds(make_run, capsys):
    runs = [make_run("a", [0.1, 0.6], seed=0), make_run("b", [0.1, 0.8], seed=1)]
    runs += [make_run("again", [0.1, 0.6], seed=0), make_run("other-numbers", [0.1, 0.7], seed=1)]

    with pytest.warns(UserWarning, match=r"again repeats .*a, with the same seed and numbers"):
        assert main([*map(str, runs), "--markdown"]) == 0

    assert "| 3 | 70.00 ± 10.00 |" in capsys.readouterr().out


def test_a_loss_that_diverged_is_short(make_run):
    run = load_run(make_run("a", [0.1, 0.6]), "test_accuracy")
    huge = dataclasses.replace(run, curve=run.curve * 1e300)

    assert run_table([huge], "test_loss")[1][0][1:3] == ["6e+299", "6e+299"]


@pytest.mark.parametrize(
    ("other", "columns", "said"),
    [
        ({}, "partition.alpha", "over 2 seeds"),
        ({"rounds": 2}, "partition.alpha", "over 2 runs, which differ in rounds, seed"),  # one was continued
        ({"partition__alpha": 0.1}, "clients.count", "over 2 runs, which differ in partition.alpha, seed"),
    ],
)
def test_cells_of_runs_that_differ_in_more_than_the_seed_are_not_called_seeds(
    make_run, capsys, other, columns, said
):
    base = {"partition__alpha": 1.0, "rounds": 1}
    runs = [make_run("a", [0.1, 0.6], **base), make_run("b", [0.1, 0.8], **{**base, "seed": 1, **other})]

    table = ["--rows", "method.name", "--columns", columns, "--markdown"]
    assert main([*map(str, runs), *table]) == 0

    text = capsys.readouterr().out
    assert f"mean ± sample standard deviation {said}:" in text
    assert "| fedavg | 70.00 ± 14.14 |" in text
