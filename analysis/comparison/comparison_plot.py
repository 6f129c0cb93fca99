"""The curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path

from analysis.comparison.groups import Groups, by_configuration
from analysis.comparison.mean_curve import draw_mean_curve
from analysis.legend import Legend, line_look
from analysis.reading.runs import Run, is_accuracy, unit
from analysis.style import integer_ticks, label_axes, new_figure, save

_WIDTH, _HEIGHT = 8, 4.5  # inches


def plot_comparison(runs: Sequence[Run], path: Path) -> Path:
    """Draw one line per configuration: the mean over its seeds, with a band of one sample deviation.

    Parameters
    ----------
    runs : sequence of Run
        Runs loaded with the same metric.
    path : pathlib.Path
        The picture to write.
    """
    return plot_groups(by_configuration(runs), path)


def plot_groups(groups: Groups, path: Path) -> Path:
    """Draw one line per configuration as `plot_comparison` does, with the given labels."""
    metric = str(groups[0][1][0].curve.name)
    legend = Legend([label for label, _ in groups], _WIDTH)
    looks = [legend.look(number, line_look(number)) for number in range(len(groups))]
    figure = new_figure(_WIDTH, _HEIGHT + legend.height)
    axes = figure.subplots()
    for (_, group), look in zip(groups, looks, strict=True):
        draw_mean_curve(axes, group, 100 if is_accuracy(metric) else 1, **look)
    integer_ticks(axes.xaxis)
    axes.grid(alpha=0.3)
    legend.draw(figure, looks)
    label_axes(axes, "round", unit(metric))
    return save(figure, path)
