"""Sweeps laid out: axes, pivot, seeds, published numbers, files, pictures, errors."""

import json
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from analysis.comparison.compare import main
from analysis.comparison.pivot import Pivot
from analysis.comparison.sweep_plot import _draw_final, _Looks, plot_sweep
from analysis.comparison.sweep_report import write_report
from analysis.comparison.sweep_table import axes_pivot, load_finished
from analysis.reading.runs import load_run
from analysis.reading.sweep import is_sweep, read_sweep
from analysis.style import new_figure
from common.errors import UserError
from tests.analysis.conftest import picture_is_drawn

AXES = {"split": ["iid", "nc1"], "steps": ["j4", "j16"], "seed": ["s0", "s1"]}
FINAL = {"iid,j4": 0.6, "iid,j16": 0.5, "nc1,j4": 0.2, "nc1,j16": 0.1}


@pytest.fixture
def sweep_dir(make_run, tmp_path):
    """A sweep with two seeds, of which nc1,j16 has one; the second seed is 0.02 better."""
    path = tmp_path / "sweep"
    path.mkdir()
    runs = {}
    for split in AXES["split"]:
        for steps in AXES["steps"]:
            for number, seed in enumerate(AXES["seed"]):
                name = f"{split},{steps},{seed}"
                published = 45.96 if (split, steps) == ("iid", "j4") else None
                labels = {"split": split, "steps": steps, "seed": seed}
                runs[name] = {"labels": labels, "directory": name, "published": published}
                if name == "nc1,j16,s1":
                    continue
                curve = [0.05, None, FINAL[f"{split},{steps}"] + 0.02 * number]
                overrides = {"local__steps": int(steps[1:]), "partition__name": split, "seed": number}
                make_run(f"sweep/{name}", curve, **overrides)
                metrics = pd.read_csv(path / name / "metrics.csv").assign(local_steps=[0, 10, 10])
                metrics.to_csv(path / name / "metrics.csv", index=False)
                (path / name / "config.toml").touch()
    description = {"axes": AXES, "metrics": ["test_accuracy", "test_loss"], "runs": runs}
    (path / "sweep.json").write_text(json.dumps(description))
    return path


def test_what_a_sweep_directory_is(sweep_dir, make_run):
    assert is_sweep(sweep_dir)
    assert not is_sweep(sweep_dir / "iid,j4,s0")
    assert not is_sweep(make_run("single"))
    assert not is_sweep(sweep_dir / "nowhere")


def test_report(sweep_dir, capsys):
    from rich.console import Console

    files = write_report(sweep_dir, Console(width=100))

    assert [file.name for file in files] == [
        "table.csv", "table.md", "table.tex", "comparison.png", "comparison-test_loss.png",
    ]  # fmt: skip
    assert all(picture_is_drawn(file) for file in files[3:])
    assert r"61.00 $\pm$ 1.41 (45.96) & 51.00 $\pm$ 1.41 \\" in (sweep_dir / "table.tex").read_text()
    text = (sweep_dir / "table.md").read_text()
    assert "| split \\ steps | j4 | j16 |" in text
    assert "| iid | 61.00 ± 1.41 (45.96) | 51.00 ± 1.41 |" in text
    assert "| nc1 | 21.00 ± 1.41 | 10.00 |" in text
    assert "| iid | 0.7800 ± 0.0283 | 0.9800 ± 0.0283 |" in text
    table = pd.read_csv(sweep_dir / "table.csv", keep_default_na=False)
    assert len(table) == 7
    assert table.iloc[0].to_dict() == {
        "run": "iid,j4,s0", "split": "iid", "steps": "j4", "seed": "s0", "final_test_accuracy": 0.6,
        "last_ten_test_accuracy": "", "best_test_accuracy": 0.6, "final_test_loss": 0.8,
        "last_ten_test_loss": "", "best_test_loss": 0.8, "rounds": 2,
        "local_steps": 20, "seconds": 150.0, "same_as": "",
    }  # fmt: skip
    output = capsys.readouterr().out
    assert "61.00 ± 1.41 (45.96)" in output
    assert "not finished: nc1,j16,s1" in output


def test_rows_and_columns_can_be_chosen(sweep_dir):
    sweep = read_sweep(sweep_dir)
    runs = load_finished(sweep, ["test_accuracy"])["test_accuracy"]

    pivot = axes_pivot(sweep, runs, "test_accuracy", ["steps"], ["split"])
    assert pivot.table("test_accuracy")[0] == ["steps \\ split", "iid", "nc1"]
    assert pivot.table("test_accuracy")[1][0] == ["j4", "61.00 ± 1.41 (45.96)", "21.00 ± 1.41"]
    pivot = axes_pivot(sweep, runs, "test_accuracy", ["split", "steps"], ["seed"])
    assert pivot.table("test_accuracy")[1][3] == ["nc1,j16", "10.00", "-"]
    with pytest.raises(UserError, match="has no axis 'size'; axes: split, steps, seed"):
        axes_pivot(sweep, runs, "test_accuracy", ["size"])


def test_runs_put_together_by_hand(make_run, tmp_path):
    (tmp_path / "b4").mkdir()
    for name in ("nc10,j16", "nc10,j4", "iid,j4", "nc5,j4"):
        make_run(f"b4/{name}", [0.1, 0.2])
        (tmp_path / "b4" / name / "config.toml").touch()
    (tmp_path / "b4" / "iid,j4.log").touch()

    sweep = read_sweep(tmp_path / "b4")

    assert sweep.axes == {"axis 1": ["iid", "nc5", "nc10"], "axis 2": ["j4", "j16"]}
    assert [run.name for run in sweep.runs] == ["iid,j4", "nc5,j4", "nc10,j4", "nc10,j16"]


def test_shared_runs_stand_in_every_cell_and_are_drawn_once(sweep_dir):
    description = json.loads((sweep_dir / "sweep.json").read_text())
    description["runs"]["nc1,j4,s0"]["directory"] = "iid,j4,s0"
    (sweep_dir / "sweep.json").write_text(json.dumps(description))
    sweep = read_sweep(sweep_dir)

    runs = load_finished(sweep, ["test_accuracy"])["test_accuracy"]

    assert runs["nc1,j4,s0"].final == 0.6
    assert len(sweep.finished) == 6
    pivot = axes_pivot(sweep, runs, "test_accuracy")
    assert picture_is_drawn(plot_sweep(pivot, "test_accuracy", sweep_dir / "x.png"))


def test_the_first_of_several_metrics_that_a_run_has(sweep_dir):
    path = sweep_dir / "iid,j4,s0" / "metrics.csv"
    pd.read_csv(path).assign(personal_accuracy=[0.1, 0.2, 0.9]).to_csv(path, index=False)
    metric = "personal_accuracy|test_accuracy"

    runs = load_finished(read_sweep(sweep_dir), [metric])[metric]

    assert runs["iid,j4,s0"].final == 0.9
    assert runs["iid,j4,s1"].final == 0.62
    pivot = axes_pivot(read_sweep(sweep_dir), runs, metric)
    assert pivot.table(metric)[1][0][1] == "76.00 ± 19.80"
    assert picture_is_drawn(plot_sweep(pivot, metric, sweep_dir / "x.png"))


def test_steps_add_up_over_rounds(sweep_dir):
    run = load_finished(read_sweep(sweep_dir), ["test_accuracy"])["test_accuracy"]["iid,j4,s0"]

    assert run.steps is not None
    assert run.steps.tolist() == [0, 10, 20]


def test_command_lays_out_a_sweep(sweep_dir, tmp_path, capsys):
    out = tmp_path / "out.png"

    assert main([str(sweep_dir), "--metric", "test_accuracy", "--markdown", "--out", str(out)]) == 0

    text = capsys.readouterr().out
    assert "| iid | 61.00 ± 1.41 (45.96) | 51.00 ± 1.41 |" in text
    assert picture_is_drawn(out)


def test_command_pivots_by_configuration_keys(sweep_dir, capsys):
    arguments = [str(sweep_dir), "--rows", "local.steps", "--columns", "partition.name", "--markdown"]

    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "| local.steps \\ partition.name | iid | nc1 |" in text
    assert "| 4 | 61.00 ± 1.41 | 21.00 ± 1.41 |" in text


def test_command_compares_the_runs_of_a_sweep_with_others(sweep_dir, make_run, capsys):
    assert main([str(sweep_dir), str(make_run("other", [0.1, 0.3])), "--markdown"]) == 0

    text = capsys.readouterr().out
    assert "| iid,j4,s0 |" in text
    assert "| other |" in text


def test_errors(sweep_dir, tmp_path, capsys):
    assert main([str(sweep_dir), "--metric", "speed"]) == 2
    assert "no metric 'speed'" in capsys.readouterr().err
    (sweep_dir / "sweep.json").write_text("{}")
    assert main([str(sweep_dir)]) == 2
    assert "sweep.json is damaged" in capsys.readouterr().err
    empty = tmp_path / "empty"
    (empty / "iid").mkdir(parents=True)
    (empty / "iid" / "config.toml").touch()
    assert main([str(empty)]) == 2
    assert "no run has finished yet" in capsys.readouterr().err


def test_labels_without_a_finished_run_are_not_drawn(sweep_dir):
    sweep = read_sweep(sweep_dir)
    runs = load_finished(sweep, ["test_accuracy"])["test_accuracy"]
    only = {name: run for name, run in runs.items() if name.startswith("iid,j4")}
    shown = axes_pivot(sweep, only, "test_accuracy", ["split"], ["steps"]).finished()
    assert (shown.rows, shown.columns) == (["iid"], ["j4"])
    assert len(shown.runs("iid", "j4")) == 2


def test_final_values_are_joined_over_a_quantity_and_the_row_without_a_number_is_a_line(make_run):
    """As accuracy against gamma, with uniform participation for comparison."""
    pivot = Pivot("participation")
    for row, value in (("uniform", 0.5), ("gamma5", 0.4), ("gamma1", 0.3), ("gamma0.1", 0.2)):
        pivot.at(row, "").runs.append(load_run(make_run(row, [0.1, value]), "test_accuracy"))
    axes = new_figure(4, 3).subplots()

    _draw_final(axes, pivot, pivot.columns, "test_accuracy", _Looks(pivot, 8.0))

    assert [label.get_text() for label in axes.get_xticklabels()] == ["gamma5", "gamma1", "gamma0.1"]
    points, reference = (line.get_ydata() for line in axes.lines if line.get_linestyle() != "None")
    assert list(points) == pytest.approx([40, 30, 20])
    assert list(reference) == pytest.approx([50, 50])


@pytest.mark.parametrize("count", [2, 9, 20])
def test_methods_look_different(count: int) -> None:
    rows = [f"method {number * 7 % count}" for number in range(count)]

    def runs(row: str, column: str) -> list[Any]:
        return [SimpleNamespace(config={"method.name": row})]

    pivot: Any = SimpleNamespace(rows=rows, columns=["iid"], runs=runs)
    looks = [_Looks(pivot, 8.0).line(row, "iid") for row in rows]
    assert len({(look["color"], look["marker"]) for look in looks}) == count
