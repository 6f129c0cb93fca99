"""The heat map of a sweep over two quantities."""

import math

import numpy as np
import pytest

from analysis.comparison.heat_map import final_values, is_grid, plot_heat_map
from analysis.comparison.pivot import Pivot
from analysis.reading.runs import load_run
from tests.analysis.conftest import picture_is_drawn


@pytest.fixture
def pivot(make_run):
    """Clients and local steps; one cell has two seeds, one has no run."""
    table = Pivot("clients \\ steps")
    for name, finals in {"k2,j4": [0.6, 0.7], "k2,j8": [0.5], "k4,j4": [0.4], "k4,j8": []}.items():
        cell = table.at(*name.split(","))
        for seed, final in enumerate(finals):
            cell.runs.append(load_run(make_run(f"{name},{seed}", [0.1, final]), "test_accuracy"))
    return table


def test_it_shows_the_means_over_seeds(pivot, tmp_path):
    values = final_values(pivot, "test_accuracy")
    assert values[0] == pytest.approx([65, 50])
    assert values[1, 0] == pytest.approx(40)
    assert math.isnan(values[1, 1])
    picture = plot_heat_map(pivot, "test_accuracy", tmp_path / "heat-map.png")
    assert picture_is_drawn(picture, least_pixels=300)


def test_only_two_quantities_make_a_grid(pivot):
    assert is_grid(pivot)
    methods = Pivot("method \\ steps", ["fedavg", "moon"], ["j4", "j8"], pivot.cells)
    assert not is_grid(methods)
    assert not is_grid(Pivot("clients \\ steps", ["k2", "k4"], ["j4"], pivot.cells))
    assert np.isnan(final_values(methods, "test_accuracy")).all()
