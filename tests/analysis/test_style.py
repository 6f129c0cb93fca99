"""What all pictures share."""

import pytest
from matplotlib.figure import Figure

from analysis.style import integer_ticks


@pytest.mark.parametrize("clients", [1, 2, 7, 1000])
def test_ticks_of_whole_things_are_whole(clients):
    axes = Figure().subplots()
    axes.bar(range(clients), 1, width=0.8)
    integer_ticks(axes.xaxis)

    ticks = axes.get_xticks()

    assert len(ticks)
    assert all(tick == round(tick) for tick in ticks)
