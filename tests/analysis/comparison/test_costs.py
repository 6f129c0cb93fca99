"""What an accuracy has cost, and medians with bands."""

import json
import subprocess
import sys
import unittest.mock

import pandas as pd
import pytest

from analysis.comparison.costs import cost_table, main, plot_costs, read_costs
from analysis.comparison.groups import by_configuration, load_groups
from analysis.comparison.median_band import band, final_text, limits
from analysis.comparison.sweep_plot import line_looks
from analysis.comparison.sweep_table import axes_pivot, load_finished
from analysis.reading.runs import load_run
from analysis.reading.sweep import read_sweep
from analysis.style import METHOD_COLOURS
from common.defaults import PROJECT_ROOT
from tests.analysis.conftest import picture_is_drawn


def test_median_and_band_of_three_seeds():
    curves = [pd.Series(values, index=[0, 5]) for values in ([1.0, 2.0], [3.0, 1.0], [2.0, 6.0])]
    table = band(pd.concat(curves, axis=1))
    assert table["median"].tolist() == [2, 2]
    assert list(zip(table["low"], table["high"], strict=True)) == [(1, 3), (1, 6)]
    assert limits([table]) == pytest.approx((0.75, 6.2625))
    assert final_text(curves) == "3.0000 +/- 3.0000"


@pytest.mark.parametrize(
    ("value", "expected"), [(2.0, (1.9, 2.1)), (-2.0, (-2.1, -1.9)), (0.0, (-0.05, 0.05))]
)
def test_limits_of_a_single_value_are_apart(value, expected):
    assert limits([band(pd.DataFrame([value]))]) == pytest.approx(expected)


def test_costs_add_up(make_run):
    costs = read_costs(make_run())
    assert costs["rounds"].tolist() == [0, 1, 2, 3, 4]
    assert costs["local_steps"].tolist() == [0, 10, 20, 30, 40]  # from clients.csv: two clients of 5 steps
    assert costs["megabytes"].tolist() == pytest.approx([0.0035 * rounds for rounds in range(1, 6)])
    assert costs["seconds"].tolist() == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert "virtual_seconds" not in costs


def test_decentralised_clients_communicate_over_their_links(make_run):
    run = make_run()
    table = pd.read_csv(run / "metrics.csv")
    table.assign(peer_bytes=[None, 2e6, 2e6, 3e6, 2e6]).to_csv(run / "metrics.csv", index=False)
    assert read_costs(run)["megabytes"].tolist() == [0, 2, 4, 7, 9]


def test_counted_steps_and_virtual_time_are_used(make_run):
    run = make_run()
    table = pd.read_csv(run / "metrics.csv")
    table.assign(local_steps=[None, 7, 7, 7, 7], virtual_seconds=[None, 1, 2, 3, 4]).to_csv(
        run / "metrics.csv", index=False
    )
    costs = read_costs(run)
    assert costs["local_steps"].tolist() == [0, 7, 14, 21, 28]
    assert costs["virtual_seconds"].tolist() == [0, 1, 3, 6, 10]


def test_table_with_and_without_a_target(make_run):
    runs = [
        load_run(make_run("a", seed=0), "test_accuracy"),
        load_run(make_run("b", seed=1, accuracies=(0.1, 0.7, None, 0.8, 0.8)), "test_accuracy"),
        load_run(
            make_run("c", method__name="fedprox", accuracies=(0.1, 0.2, None, 0.3, 0.4)), "test_accuracy"
        ),
    ]
    header, rows = cost_table(by_configuration(runs))
    assert header[:3] == ["run", "final test_accuracy", "rounds"]
    assert [row[:3] for row in rows] == [
        ["fedavg (2 seeds)", "0.7000 +/- 0.1000", "4"],
        ["fedprox", "0.4000", "4"],
    ]
    _, rows = cost_table(by_configuration(runs), target=0.65)
    assert [row[2] for row in rows] == ["2", "-"]


def test_the_command_draws_a_panel_for_each_cost(make_run, tmp_path, capsys):
    runs = [str(make_run(name, seed=seed)) for seed, name in enumerate("ab")]
    assert main([*runs, "--out", str(tmp_path / "costs.png")]) == 0
    assert picture_is_drawn(tmp_path / "costs.png")
    assert "local steps" in capsys.readouterr().out
    assert main([str(tmp_path / "nothing")]) == 2
    assert "there is no run directory" in capsys.readouterr().err


@pytest.fixture
def sweep(make_run, tmp_path):
    """Make a sweep of twelve long labels with two seeds, one of which has not run."""
    (tmp_path / "sweep").mkdir()
    labels = [f"a-rather-long-label-of-local-steps-{number}" for number in range(12)]
    runs = {}
    for number, label in enumerate(labels):
        for seed in (0, 1):
            name = f"{label},seed{seed}"
            if number < 11:
                make_run(f"sweep/{name}", seed=seed, local__steps=number)
            runs[name] = {
                "labels": {"steps": label, "seed": f"seed{seed}"},
                "directory": name,
                "published": 1.5,
            }
    content = {
        "axes": {"steps": labels, "seed": ["seed0", "seed1"]},
        "metrics": ["test_accuracy"],
        "runs": runs,
    }
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(content))
    return tmp_path / "sweep"


def test_a_sweep_is_labelled_by_its_axes_and_nothing_is_cut(sweep, tmp_path, capsys):
    assert main([str(sweep), "--csv", str(tmp_path / "costs.csv")]) == 0
    assert "a-rather-long-label-of-local-steps-10 (2 seeds)" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "costs.csv")
    assert table["run"].tolist()[0] == "a-rather-long-label-of-local-steps-0 (2 seeds)"
    assert table["rounds"].tolist() == [4] * 11


def test_every_line_of_a_picture_is_told_from_the_others_and_the_legend_lies_inside(sweep):
    drawn = []
    groups = load_groups([sweep], "test_accuracy")
    with unittest.mock.patch("analysis.comparison.costs.save", lambda figure, path: drawn.append(figure)):
        plot_costs(groups, sweep / "costs.png")
    (figure,) = drawn
    figure.canvas.draw()
    lines = figure.axes[0].get_lines()[:11]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 11
    (legend,) = figure.legends
    box, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 <= box.x1 <= page.x1
    assert page.y0 <= box.y0 <= box.y1 <= page.y1
    assert all(axes.get_window_extent().height > 150 for axes in figure.axes)


def test_a_run_of_a_sweep_has_one_look_in_all_pictures_and_the_band_is_explained(make_run, tmp_path):
    methods = ("scaffold", "fedavg")
    runs = {
        f"{method},{split},s{seed}": {
            "labels": {"method": method, "split": split, "seed": f"s{seed}"},
            "directory": f"{method},{split},s{seed}",
            "published": None,
        }
        for method in methods
        for split in ("iid", "nc2")
        for seed in (0, 1)
    }
    for name in runs:
        method, split, seed = name.split(",")
        make_run(name, seed=int(seed[1]), method__name=method, partition__name=split)
    axes = {"method": [*methods], "split": ["iid", "nc2"], "seed": ["s0", "s1"]}
    content = {"axes": axes, "metrics": ["test_accuracy"], "runs": runs}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    sweep = read_sweep(tmp_path)
    pivot = axes_pivot(sweep, load_finished(sweep, ["test_accuracy"])["test_accuracy"], "test_accuracy")
    looks = line_looks(pivot)

    drawn = []
    with unittest.mock.patch("analysis.comparison.costs.save", lambda figure, path: drawn.append(figure)):
        plot_costs(load_groups([tmp_path], "test_accuracy"), tmp_path / "costs.png", looks)
    (figure,) = drawn
    found = [(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()]
    scaffold, fedavg = METHOD_COLOURS["scaffold"], METHOD_COLOURS["fedavg"]
    assert found == [(scaffold, "-"), (scaffold, "--"), (fedavg, "-"), (fedavg, "--")]
    assert figure.get_suptitle() == "median over seeds, band from the smallest to the largest value"


@pytest.mark.parametrize(
    ("name", "start"),
    [("x.png", b"\x89PNG"), ("x.pdf", b"%PDF-"), ("x.SVG", b"<?xml"), ("new/x.svg", b"<?xml")],
)
def test_a_picture_has_the_format_of_its_name(name, start, make_run, tmp_path):
    run = str(make_run())
    assert main([run, "--out", str(tmp_path / name)]) == 0
    first = (tmp_path / name).read_bytes()
    assert first.startswith(start)
    if name.endswith("pdf"):
        assert main([run, "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("name", ["x.jpeg", "x", "/proc/x.png"])
def test_a_picture_that_cannot_be_drawn_is_one_line(name, make_run, tmp_path, capsys):
    assert main([str(make_run()), "--out", str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_labels_that_have_not_run_are_no_rows(sweep):
    table = read_sweep(sweep)
    pivot = axes_pivot(
        table, load_finished(table, ["test_accuracy"])["test_accuracy"], "test_accuracy"
    ).finished()
    _, rows = pivot.table("test_accuracy")
    assert len(rows) == 11
    assert all("-" not in row[1].split() for row in rows)


def test_a_closed_pipe_is_no_traceback(sweep):
    command = f"{sys.executable} -m analysis costs {sweep} | head -c 5; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_more_lines_than_a_legend_has_room_for_are_drawn_without_names(sweep):
    [first, *_] = load_groups([sweep], "test_accuracy")
    groups = [(f"run {number}", first[1]) for number in range(30)]
    assert picture_is_drawn(plot_costs(groups, sweep / "costs.png"))


def test_the_command_leaves_out_a_run_whose_clients_cannot_be_read(make_run, capsys):
    runs = [make_run("a", seed=0), make_run("b", seed=1), make_run("c", method__name="fedprox")]
    (runs[1] / "clients.csv").write_bytes(b"\x00\xff,\n")
    with pytest.warns(UserWarning, match="left out: .*clients.csv"):
        assert main(list(map(str, runs))) == 0
    table = capsys.readouterr().out
    assert "fedavg" in table
    assert "fedprox" in table
    assert "2 seeds" not in table
