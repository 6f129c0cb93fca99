"""A metric against rounds or costs, averaged over repetitions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.comparison.repetitions import common_rounds
from analysis.reading.runs import Run

Costs = Mapping[Path, "pd.Series[float]"]


def mean_curve(runs: Sequence[Run], costs: Costs | None) -> pd.DataFrame:
    """Return ``x``, ``mean`` and ``deviation`` (NaN for one seed) at the rounds measured by every seed.

    Warns of rounds that some seed has not measured.

    Parameters
    ----------
    runs : sequence of Run
        Runs that differ in the seed only, loaded with the same metric.
    costs : mapping, optional
        Run directory → x by round, averaged over the runs that have it; by default x is the round.
    """
    curves = common_rounds(runs)
    x: pd.Index[Any] | pd.Series[float] = curves.index
    if given := [costs[run.path] for run in runs if run.path in costs] if costs else []:
        x = pd.concat(given, axis=1).mean(axis=1).reindex(curves.index)
    mean, deviation = curves.mean(axis=1), curves.std(axis=1, ddof=1)
    return pd.DataFrame({"x": x, "mean": mean, "deviation": deviation}, index=curves.index)


def draw_mean_curve(
    axes: Axes, runs: Sequence[Run], scale: float, costs: Costs | None = None, **style: Any
) -> None:
    """Draw the mean over seeds as a line, with a band of one sample standard deviation.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes.
    runs, costs
        As for `mean_curve`.
    scale : float
        Factor of the values, 100 for per cent.
    **style
        Passed to ``Axes.plot``.
    """
    curve = mean_curve(runs, costs)
    mean, deviation = scale * curve["mean"], scale * curve["deviation"]
    axes.plot(curve["x"], mean, **style)
    if len(runs) > 1:
        low, high = mean - deviation, mean + deviation
        axes.fill_between(curve["x"], low, high, color=style.get("color"), alpha=0.2, linewidth=0)
