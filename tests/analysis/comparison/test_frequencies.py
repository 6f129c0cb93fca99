"""The final metric against how unevenly clients were called."""

import unittest.mock

import pytest

from analysis.comparison import frequencies
from analysis.comparison.frequencies import plot_frequencies
from analysis.reading.runs import load_run
from tests.analysis.conftest import write_clients


def test_a_point_per_scheme_at_the_means_of_its_seeds(make_run, tmp_path):
    """Of four clients one is in all of four rounds (40 and 60 % at the end), or each is in one (80 %)."""
    runs = {}
    for name, called, final in (
        ("one", [0, 0, 0, 0], 0.4),
        ("b", [0, 0, 0, 0], 0.6),
        ("all", [0, 1, 2, 3], 0.8),
    ):
        run_dir = make_run(name, (0.1, 0.2, 0.3, 0.3, final))
        write_clients(run_dir, called)
        runs[name] = load_run(run_dir, "test_accuracy")
    groups = {"one client": [runs["one"], runs["b"]], "all in turn": [runs["all"]]}
    drawn = []
    with unittest.mock.patch.object(frequencies, "save", lambda figure, path: drawn.append(figure)):
        plot_frequencies(groups, "test_accuracy", tmp_path / "x.png")
    points = [
        [(*line.lines[0].get_xdata(), *line.lines[0].get_ydata()) for line in axes.containers]
        for axes in drawn[0].axes
    ]
    assert points == [
        [pytest.approx((x_one, 50)), pytest.approx((x_all, 80))]
        for x_one, x_all in ((0.75, 0), (100, 25), (25, 100))
    ]
    high = drawn[0].axes[0].containers[0].lines[1][3].get_ydata()
    assert high[0] == pytest.approx(50 + 200**0.5)  # the sample deviation of 40 and 60
