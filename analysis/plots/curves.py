"""Loss and accuracy against rounds."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.reading.run_directory import NoDataError, read_metrics
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save

# Model and data of each curve, in the order of the legend, with one look for both panels.
SPLITS: dict[str, tuple[str, str]] = {
    "train": (PALETTE[8], "-"),
    "validation": (PALETTE[1], "--"),
    "test": (PALETTE[0], "-"),
    "federated": (PALETTE[2], ":"),
    "personal": (PALETTE[3], "-."),
}
_LABELS = {"train": "train (clients' own data, while they train)"}
# With more points than this, markers would hide the line.
MAX_MARKERS = 40


def plot(run_dir: Path) -> Path:
    """Draw the loss and the accuracy of a run against its rounds."""
    metrics = read_metrics(run_dir)
    figure = new_figure(10, 4)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    drawn = _draw_splits(loss_axes, metrics, "loss", scale=1)
    drawn += _draw_splits(accuracy_axes, metrics, "accuracy", scale=100)
    if not drawn:
        raise NoDataError(f"{run_dir / 'metrics.csv'} holds no loss and no accuracy yet")
    label_axes(loss_axes, "round", "loss (mean per example)")
    label_axes(accuracy_axes, "round", "accuracy (%)")
    return save(figure, run_dir / "plots" / "curves.png")


def _draw_splits(axes: Axes, metrics: pd.DataFrame, quantity: str, scale: float) -> int:
    """Draw one line per measured split; return the number of lines."""
    for split, (colour, dashes) in SPLITS.items():
        column = f"{split}_{quantity}"
        if column not in metrics:
            continue
        measured = metrics[["round", column]].replace([np.inf, -np.inf], np.nan).dropna()
        if not measured.empty:
            marker = "o" if len(measured) <= MAX_MARKERS else ""
            axes.plot(
                measured["round"],
                measured[column] * scale,
                color=colour,
                linestyle=dashes,
                label=_LABELS.get(split, split),
                marker=marker,
                markersize=3,
            )
    axes.grid(alpha=0.3)
    integer_ticks(axes.xaxis)
    if axes.lines:
        axes.legend(fontsize=TEXT_SIZE, frameon=False)
    return len(axes.lines)
