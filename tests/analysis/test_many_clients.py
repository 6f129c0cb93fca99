"""Pictures of many clients: bounded work, and right numbers in groups and bins."""

from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.many_clients import MAX_DRAWN, draw_histogram, group_means
from analysis.plots import label_distribution
from analysis.plots.label_distribution import plot as plot_label_distribution
from analysis.plots.participation import plot as plot_participation
from analysis.style import new_figure
from tests.analysis.conftest import picture_is_drawn, write_clients, write_label_distribution
from tests.analysis.plots.test_participation import write_participation


def test_few_values_are_their_own_means():
    means, edges = group_means([3, 1, 2])
    assert means.tolist() == [3, 1, 2]
    assert edges.tolist() == [0, 1, 2, 3]


def test_means_of_neighbours():
    means, edges = group_means(np.arange(2 * MAX_DRAWN))
    assert means.tolist() == [2 * group + 0.5 for group in range(MAX_DRAWN)]
    assert edges.tolist() == list(range(0, 2 * MAX_DRAWN + 1, 2))


@given(st.integers(1, 4 * MAX_DRAWN))
def test_groups_keep_the_sum(count):
    values = np.random.default_rng(count).integers(100, size=count)
    means, edges = group_means(values)
    assert (means * np.diff(edges)).sum() == pytest.approx(values.sum())


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_a_histogram_counts_every_client_once(values):
    axes = new_figure(4, 3).subplots()
    draw_histogram(axes, values)
    (drawn,) = axes.patches
    counts, edges, _ = drawn.get_data()
    assert counts.sum() == len(values)
    assert len(counts) <= 50
    assert edges[0] < min(values)
    assert edges[-1] > max(values)


def test_a_histogram_of_small_numbers_has_a_bin_for_each():
    axes = new_figure(4, 3).subplots()
    draw_histogram(axes, [0, 2, 2, 3])
    counts, edges, _ = axes.patches[0].get_data()
    assert counts.tolist() == [1, 0, 2, 1]
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]


@pytest.fixture
def num_artists(monkeypatch):
    """Return a list that grows by the number of artists of each figure that is saved."""
    found = []

    def count(figure, path):
        found.append(len(figure.findobj()))
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path)
        return path

    monkeypatch.setattr("analysis.plots.label_distribution.save", count)
    monkeypatch.setattr("analysis.plots.participation.save", count)
    return found


def test_pictures_of_many_clients_do_not_grow_with_their_number(tmp_path, num_artists):
    for clients in (MAX_DRAWN + 1, 40 * MAX_DRAWN):
        directory = tmp_path / str(clients)
        directory.mkdir()
        generator = np.random.default_rng(0)
        write_label_distribution(directory, generator.poisson(2, (clients, 10)))
        write_clients(directory, generator.integers(clients, size=clients).tolist())
        assert picture_is_drawn(plot_label_distribution(directory), 400)
        assert picture_is_drawn(plot_participation(directory), 400)
        probabilities = generator.dirichlet(np.ones(clients))
        write_participation(directory, probabilities, np.minimum(1, 10 * probabilities))
        assert picture_is_drawn(plot_participation(directory), 400)
    assert max(num_artists[3:]) < 1.3 * max(num_artists[:3]) < 3000


@pytest.mark.parametrize("clients", [3, 30, 500, 1000])
def test_panels_of_splits_name_at_most_ten_clients(clients, tmp_path):
    drawn = []
    counts = pd.DataFrame(np.ones((clients, 4), dtype=int))
    with mock.patch.object(label_distribution, "save", lambda figure, path: drawn.append(figure)):
        label_distribution.plot_side_by_side({"one": counts, "two": counts}, tmp_path / "x.png")
    assert all(len(axes.get_xticks()) <= 10 for axes in drawn[0].axes[:2])
