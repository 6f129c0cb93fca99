"""What all pictures share."""

import pytest
from matplotlib.figure import Figure

from analysis.style import integer_ticks, label_axes, new_figure, panels


@pytest.mark.parametrize("clients", [1, 2, 7, 1000])
def test_ticks_of_whole_things_are_whole(clients):
    axes = Figure().subplots()
    axes.bar(range(clients), 1, width=0.8)
    integer_ticks(axes.xaxis)

    ticks = axes.get_xticks()

    assert len(ticks)
    assert all(tick == round(tick) for tick in ticks)


def test_a_label_of_the_vertical_axis_is_no_longer_than_the_axis():
    figure = new_figure(7.2, 2.1)
    found = panels(figure, 3, 3)
    for axes in found:
        label_axes(axes, "rounds", "test accuracy resnet26 (%)")
    figure.canvas.draw()
    for axes in found:
        label, inside = axes.yaxis.label.get_window_extent(), axes.get_window_extent()
        assert label.height < 1.1 * inside.height
    single = new_figure(7.2, 4).add_subplot()
    label_axes(single, "rounds", "test accuracy resnet26 (%)")
    assert single.get_ylabel() == "test accuracy resnet26 (%)"
