"""One figure of several metrics."""

import unittest.mock
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.image import imread

from analysis.comparison import curves
from analysis.comparison.curves import load_metrics, main, plot_curves
from analysis.comparison.groups import by_configuration
from analysis.comparison.mean_curve import mean_curve
from analysis.legend import MAX_ENTRIES, Legend, line_look
from analysis.reading.runs import differing_keys, group_seeds, load_run
from analysis.style import new_figure, panels
from common.errors import UserError


@pytest.fixture
def runs(make_run):
    return [
        make_run("a0", (0.1, 0.5), seed=0),
        make_run("a1", (0.1, 0.7), seed=1),
        make_run("b0", (0.2, 0.9), seed=0, method__name="scaffold"),
    ]


def test_validation_data_are_not_shown_as_test_data(make_run, tmp_path):
    """The trials of a search, which never use the test set."""
    for name in ("trials/a", "trials/b"):
        run = make_run(name)
        (run / "config.toml").touch()
        table = pd.read_csv(run / "metrics.csv")
        table.rename(columns={"test_accuracy": "validation_accuracy"}).to_csv(
            run / "metrics.csv", index=False
        )
    _, found = load_metrics([tmp_path / "trials"], ["validation_accuracy", "test_accuracy"], skip=True)
    assert list(found) == ["validation_accuracy"]
    with pytest.raises(UserError, match="no run has a value of 'test_accuracy'"):
        load_metrics([tmp_path / "trials"], ["test_accuracy"])


def test_a_panel_per_metric_a_line_per_configuration_a_band_over_seeds(runs, tmp_path):
    drawn = []
    groups, found = load_metrics(runs, ["train_loss", "test_loss", "test_accuracy"], skip=True)
    with unittest.mock.patch.object(curves, "save", lambda figure, path: drawn.append(figure)):
        plot_curves(groups, found, tmp_path / "x.png", titles=["a", "b", "c"])
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    last = figure.axes[2]
    assert [line.get_ydata().tolist() for line in last.lines] == [
        pytest.approx([10, 60]),
        pytest.approx([20, 90]),
    ]
    points = last.collections[0].get_paths()[0].vertices
    assert points[:, 1].max() == pytest.approx(60 + 200**0.5)  # the sample deviation of 50 and 70
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"fedavg (2 seeds)", "scaffold"}


def test_the_width_is_that_of_a_column(runs, tmp_path):
    out = tmp_path / "figure.png"
    assert main([*map(str, runs), "--out", str(out), "--width", "one", "--labels", "A;B"]) == 0
    assert imread(out).shape[1] == round(3.5 * 150)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "nothing"], "no metric 'nothing'"),
        (["--against", "virtual"], "needs runs with clock.*"),
        (["--width", "tow"], "did you mean 'two'"),
        (["--width", "100"], "2 to 40 inches"),
        (["--labels", "one"], "--labels has 1 texts, and there are 2"),
        (["--out", "x.jpeg"], "must end with"),
        (["--table", "x.xlsx"], "must end with"),
    ],
)
def test_wrong_input_is_one_line(runs, capsys, options, message):
    assert main([*map(str, runs), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("count", range(1, 12))
def test_panels_fill_their_rows(count):
    figure = new_figure(9, 6)
    found = panels(figure, count, 4)
    assert len(found) == count
    rows = {}
    for axes in found:
        place = axes.get_subplotspec()
        rows.setdefault(place.rowspan.start, []).append(len(place.colspan))
    width = found[0].get_subplotspec().get_gridspec().ncols
    assert all(sum(spans) == width and len(spans) <= 4 for spans in rows.values())


def test_a_legend_ends_with_how_many_more():
    figure = new_figure(7, 3)
    figure.subplots()
    legend = Legend([f"method {number}" for number in range(300)], 7)
    legend.draw(figure, [{"color": "black"}] * 300)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(texts) == MAX_ENTRIES + 1
    assert texts[-1] == f"and {300 - MAX_ENTRIES} more"


def test_runs_are_cut_where_they_had_cost_as_much(runs, capsys, tmp_path):
    """Two rows of half a second each, rounds 0 and 1: up to 0.75 s, and up to round 0, that is the first."""
    picture = ["--metric", "test_accuracy", "--out", str(tmp_path / "x.png")]
    for options in (["--against", "seconds", "--until", "0.75"], ["--until", "0"]):
        assert main([*map(str, runs), *picture, *options]) == 0
        table = capsys.readouterr().out
        assert "10.00 ± 0.00" in table
        assert "20.00" in table
        assert "90.00" not in table
    with pytest.warns(UserWarning, match="b0 ends at 1, before --until 3: rounds"):
        main([str(runs[2]), *picture, "--until", "3"])
    assert main([str(runs[2]), *picture, "--against", "seconds", "--until", "0.25"]) == 2
    assert "b0 measured no test_accuracy up to --until 0.25 (wall time (s))" in capsys.readouterr().err


def test_seconds_are_those_of_the_rounds_that_all_seeds_measured(runs):
    groups, found = load_metrics(runs, ["test_accuracy"])
    group = [found["test_accuracy"][run.path] for run in groups[0][1]]
    costs = {run.path: curves.read_costs(run.path)["seconds"] for run in group}
    assert mean_curve(group, costs)["x"].tolist() == pytest.approx([0.5, 1.0])
    assert all(isinstance(path, Path) for path in costs)


def test_seven_lines_differ_without_colours_and_no_two_of_63_are_alike():
    looks = [line_look(number) for number in range(63)]
    assert len({str(look["linestyle"]) for look in looks[:7]}) == 7
    assert len({str(look) for look in looks}) == 63


def test_what_a_run_records_elsewhere_is_no_difference(make_run):
    plain = make_run("plain", (0.1, 0.5), seed=0, tracking="", observers="")
    records = {"tracking": "tensorboard", "observers": "update_norm", "checkpoint__keep": "best"}
    tracked = make_run("tracked", (0.1, 0.7), seed=1, analysis__update_rounds="1", **records)
    loaded = [load_run(run, "test_accuracy") for run in (plain, tracked)]
    assert differing_keys(loaded) == ["seed"]
    assert len(group_seeds(loaded)) == 1


def test_a_mean_over_fewer_seeds_than_the_others_says_how_many(make_run):
    whole = [make_run(f"seed{seed}", (0.1, value), seed=seed) for seed, value in enumerate((0.4, 0.6, 0.8))]
    metrics = pd.read_csv(whole[2] / "metrics.csv")
    metrics.drop(columns="test_loss").to_csv(whole[2] / "metrics.csv", index=False)
    with pytest.warns(UserWarning, match="seed2 has no metric 'test_loss'"):
        groups, found = load_metrics(whole, ["test_accuracy", "test_loss"])
    _, ((_, accuracy, loss),) = curves.final_table(groups, found)
    assert accuracy == "60.00 ± 20.00"
    assert loss == "1.0000 ± 0.2828 (2 of 3)"  # losses are 2 (1 - accuracy): 1.2 and 0.8


def test_a_plugin_folder_is_named_only_where_nothing_else_differs(make_run):
    runs = [make_run("a", plugins=""), make_run("b", plugins="/mine")]
    loaded = [load_run(run, "test_accuracy") for run in runs]
    assert [label for label, _ in by_configuration(loaded[:2])] == ["plugins=", "plugins=/mine"]
    loaded[1].config["method.name"] = "mine"
    assert [label for label, _ in by_configuration(loaded[:2])] == ["fedavg", "mine"]


def test_repetitions_alone_are_named_after_their_method_not_after_the_first(make_run):
    runs = [load_run(make_run(f"try,seed{seed}", seed=seed), "test_accuracy") for seed in (0, 1)]
    assert [label for label, _ in by_configuration(runs)] == ["fedavg (2 seeds)"]
    assert [label for label, _ in by_configuration(runs[:1])] == ["try,seed0"]
