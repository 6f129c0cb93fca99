"""The final metric against how unevenly a participation scheme samples clients."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.legend import Legend, line_look
from analysis.plots.participation import gini, num_seen, participation_counts
from analysis.reading.runs import Run, is_accuracy, mean_and_deviation, unit
from analysis.style import label_axes, new_figure, panels, save

_WIDTH = 10  # inches
_MARKERS = "osD^vP*X<>hp"  # points have no dashes to tell them apart in greyscale

# Label of an axis → its value, from the clients' numbers of rounds and the run's.
MEASURES: dict[str, Callable[["pd.Series[int]", int], float]] = {
    "Gini coefficient of the clients' rounds": lambda counts, rounds: gini(counts),
    "rounds of the most often called client (%)": lambda counts, rounds: 100 * int(counts.max()) / rounds,
    "clients that were called (%)": lambda counts, rounds: 100 * num_seen(counts) / len(counts),
}


def plot_frequencies(groups: Mapping[str, Sequence[Run]], metric: str, path: Path) -> Path:
    """Draw the final metric against each of `MEASURES`, a point per scheme.

    Parameters
    ----------
    groups : mapping
        Label of a scheme → its repetitions, loaded with `metric`: the point is their mean, its bars are one
        sample standard deviation.
    metric : str
        Column of ``metrics.csv``.
    path : Path
        The picture.
    """
    scale = 100 if is_accuracy(metric) else 1
    legend = Legend(list(groups), _WIDTH)
    looks = [{**legend.look(number, line_look(number)), **_point(number)} for number in range(len(groups))]
    figure = new_figure(_WIDTH, 3.4 + legend.height)
    counts = {run.path: participation_counts(run.path) for group in groups.values() for run in group}
    found = panels(figure, len(MEASURES), len(MEASURES), sharey=True)
    for axes, (label, measure) in zip(found, MEASURES.items(), strict=True):
        for group, look in zip(groups.values(), looks, strict=True):
            x, dx = mean_and_deviation([measure(counts[run.path], run.rounds) for run in group])
            y, dy = mean_and_deviation([scale * run.final for run in group])
            axes.errorbar(x, y, xerr=np.nan_to_num(dx), yerr=np.nan_to_num(dy), capsize=2, **look)
        axes.grid(alpha=0.3)
        label_axes(axes, label, f"final {unit(metric)}" if axes is found[0] else "")
    legend.draw(figure, looks)
    return save(figure, path)


def _point(number: int) -> dict[str, Any]:
    return {"marker": _MARKERS[number % len(_MARKERS)], "linestyle": "none"}
