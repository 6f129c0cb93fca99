"""How the time of the rounds was spent, by phase."""

from pathlib import Path

import numpy as np

from analysis.many_clients import group_means
from analysis.reading.run_directory import NoDataError, read_metrics
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save

_PREFIX = "seconds_"


def plot(run_dir: Path) -> Path:
    """Draw the seconds of each round as stacked phases; with many rounds, means of neighbours.

    Rounds without recorded phases are left out.
    """
    metrics = read_metrics(run_dir)
    columns = [name for name in map(str, metrics) if name.startswith(_PREFIX)]
    measured = metrics[metrics["round"] > 0].dropna(subset=columns)
    if not columns or measured.empty:
        raise NoDataError(f"{run_dir / 'metrics.csv'} holds no seconds by phase")
    numbers = measured["round"].to_numpy()
    total = measured[columns].to_numpy().sum()
    figure = new_figure(8, 3.6)
    axes = figure.subplots()
    _, places = group_means(numbers)
    edges = np.append(numbers, numbers[-1] + 1)[places.astype(np.int64)] - 0.5
    below = np.zeros(len(edges) - 1)
    for colour, column in zip(PALETTE, columns, strict=False):
        means, _ = group_means(measured[column])
        share = measured[column].sum() / total if total else 0.0
        label = f"{column.removeprefix(_PREFIX)} {100 * share:.1f} %"
        axes.stairs(below + means, edges, baseline=below, fill=True, color=colour, label=label)
        below = below + means
    axes.set_ylim(bottom=0)
    integer_ticks(axes.xaxis)
    figure.legend(fontsize=TEXT_SIZE, frameon=False, loc="outside right upper")
    label_axes(axes, "round", "seconds", f"{total:.3g} s in {len(measured)} rounds")
    return save(figure, run_dir / "plots" / "phases.png")
