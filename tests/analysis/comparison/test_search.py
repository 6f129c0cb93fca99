"""Table and picture of a search, from its directory."""

import json
import unittest.mock

import pytest

from analysis.comparison.search import main, plot_search, write_search_report
from common.command_line import make_console
from common.search.trials import Trial, read_search, read_trials, trial_path, write_trial
from tests.analysis.conftest import picture_is_drawn

KEYS = {
    "optimizer.learning-rate": {"low": 0.01, "high": 1.0, "log": True},
    "local.batch-size": {"low": 8, "high": 64},
    "method.mu": {"values": [0.0, 0.1]},
    "method.name": {"values": ["fedavg", "fedprox"]},
}


@pytest.fixture
def search(tmp_path):
    """Three trials: one finished, a better one, and one that ended early; mu is used by FedProx alone."""
    content = {"keys": KEYS, "objective": "validation_loss", "maximize": False}
    (tmp_path / "search.json").write_text(json.dumps(content))
    outcomes = [(0.1, "fedprox", 0.5, ""), (1.0, "fedprox", 0.25, ""), (0.01, "fedavg", 2.0, "pruned: worse")]
    for number, (rate, method, loss, stopped) in enumerate(outcomes):
        values = {"optimizer.learning-rate": rate, "local.batch-size": 16, "method.name": method}
        values |= {"method.mu": 0.1} if method == "fedprox" else {}
        path = trial_path(tmp_path, number)
        path.mkdir(parents=True)
        write_trial(tmp_path, Trial(number, values, path, proposed=values))
        summary = {"final.validation_loss": loss} | ({"stopped": stopped} if stopped else {})
        (path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


def test_tables_have_the_best_trial_first(search, tmp_path, capsys):
    table = tmp_path / "table.tex"
    assert main([str(search), "--table", str(table), "--out", str(tmp_path / "picture.pdf")]) == 0
    lines = (search / "search.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["trial", "trial-0001", "trial-0000", "trial-0002"]
    assert lines[3] == "trial-0002,0.01,16,,fedavg,2,pruned,pruned: worse"
    assert r"\toprule" in table.read_text()
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")
    assert picture_is_drawn(search / "search.png")


def test_panels_leave_no_hole_and_the_legend_has_what_the_first_panel_lacks(search):
    keys = {name: KEYS[name] for name in ("method.mu", *(key for key in KEYS if key != "method.mu"))}
    content = read_search(search) | {"keys": keys}
    with unittest.mock.patch("analysis.comparison.search.save") as save:
        plot_search(content, read_trials(search, "validation_loss"), search / "x.png")
    figure = save.call_args.args[0]
    assert [axes.get_xlabel() for axes in figure.axes] == list(keys)
    rows = {}
    for axes in figure.axes:
        place = axes.get_subplotspec()
        rows.setdefault(place.rowspan.start, []).append(len(place.colspan))
    width = figure.axes[0].get_subplotspec().get_gridspec().ncols
    assert all(sum(spans) == width for spans in rows.values())
    # The trial that ended early has no mu, which is the first panel's key.
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert texts == {"finished", "ended early", "trial-0001"}


def test_what_is_no_search_is_one_line(search, tmp_path, capsys):
    (tmp_path / "foreign").mkdir()
    assert main([str(tmp_path / "foreign")]) == 2
    assert main([str(search), str(tmp_path / "foreign"), "--out", str(tmp_path / "x.pdf")]) == 2
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("error: ")
    with pytest.warns(UserWarning, match="left out: .*foreign is not the directory of a search"):
        assert main([str(search), str(tmp_path / "foreign")]) == 0


def test_a_search_without_a_value_has_tables_and_no_picture(search):
    for summary in search.glob("trials/*/summary.json"):
        summary.unlink()
    files = write_search_report(search, make_console())
    assert [file.name for file in files] == ["search.csv", "search.md"]
