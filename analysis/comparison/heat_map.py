"""The final values of a sweep over two quantities, such as clients and local steps, as a heat map."""

from pathlib import Path

import numpy as np

from analysis.comparison.pivot import Pivot
from analysis.comparison.quantity import is_quantity
from analysis.reading.runs import is_accuracy, unit
from analysis.style import TEXT_SIZE, label_axes, new_figure, save

_CELL = (0.75, 0.5)  # inches


def is_grid(pivot: Pivot) -> bool:
    """Return whether rows and columns are quantities with at least two values each."""
    return all(len(labels) > 1 and is_quantity(labels) for labels in (pivot.rows, pivot.columns))


def final_values(pivot: Pivot, metric: str) -> np.ndarray:
    """Return the mean final values over seeds, (rows, columns), accuracies in per cent; NaN without a run."""
    scale = 100 if is_accuracy(metric) else 1
    values = np.full((len(pivot.rows), len(pivot.columns)), np.nan)
    for place in np.ndindex(values.shape):
        if runs := pivot.runs(pivot.rows[place[0]], pivot.columns[place[1]]):
            values[place] = scale * np.mean([run.final for run in runs])
    return values


def plot_heat_map(pivot: Pivot, metric: str, path: Path) -> Path:
    """Draw the final values of a grid with their numbers; cells without a run stay empty."""
    values = final_values(pivot, metric)
    rows, columns = values.shape
    figure = new_figure(2.6 + _CELL[0] * columns, 1.4 + _CELL[1] * rows)
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, column in np.ndindex(values.shape):
        if not np.isnan(value := values[row, column]):
            text = f"{value:.1f}" if is_accuracy(metric) else f"{value:.3g}"
            colour = "white" if value < middle else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=TEXT_SIZE)
    axes.set_xticks(range(columns), pivot.columns)
    axes.set_yticks(range(rows), pivot.rows)
    of_rows, _, of_columns = pivot.corner.partition(" \\ ")
    label_axes(axes, of_columns, of_rows)
    figure.colorbar(image, ax=axes, label=f"final {unit(metric)}")
    return save(figure, path)
