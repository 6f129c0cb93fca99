"""A metric over the course of a run, averaged over its repetitions."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.reading.runs import Run


def draw_mean_curve(
    axes: Axes, runs: Sequence[Run], scale: float, *, against_steps: bool = False, **style: Any
) -> None:
    """Draw the mean over seeds as a line, with a band of one sample standard deviation.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    runs : sequence of Run
        Runs that differ in the seed only, loaded with the same metric.
    scale : float
        Factor of the values, 100 for per cent.
    against_steps : bool
        Whether x is the number of mini-batch gradients that all clients together have made, instead of the
        round.
    **style
        Passed to ``Axes.plot``.
    """
    # Only rounds that every seed measured: a mean over a changing set of seeds would jump.
    curves = pd.concat([run.curve for run in runs], axis=1, join="inner") * scale
    mean = curves.mean(axis=1)
    x: pd.Index[Any] | pd.Series[float] = mean.index
    steps = [run.steps for run in runs if run.steps is not None]
    if against_steps and steps:
        x = pd.concat(steps, axis=1).mean(axis=1).reindex(mean.index)
    axes.plot(x, mean, **style)
    if len(runs) > 1:
        deviation = curves.std(axis=1, ddof=1)
        axes.fill_between(
            x, mean - deviation, mean + deviation, color=style.get("color"), alpha=0.2, linewidth=0
        )
