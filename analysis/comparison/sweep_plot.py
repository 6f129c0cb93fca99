"""The pictures of a sweep: curves by rounds and by local steps, and final values by label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.comparison.mean_curve import draw_mean_curve
from analysis.comparison.pivot import Pivot
from analysis.comparison.quantity import has_number, is_quantity
from analysis.legend import MAX_ENTRIES, UNNAMED, Legend
from analysis.reading.runs import Run, is_accuracy, load_run, mean_and_deviation, readable
from analysis.style import (
    PALETTE,
    integer_ticks,
    label_axes,
    method_colours,
    new_figure,
    panels,
    save,
)
from common.errors import UserError

LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLUMN_MARKERS = ("x", "+", "1", "2", "|", "3", "4")
MAX_PANELS_IN_A_ROW = 4
_PANEL = (3.6, 3.1)  # inches


def plot_sweep(pivot: Pivot, metric: str, path: Path) -> Path:
    """Draw the curves of a sweep.

    The upper row has a panel per column of the table: the metric against rounds. The lower row has all runs
    against the total number of mini-batch gradients, so that runs with equal budgets end at the same place,
    the loss on the same data, and the final values.

    Parameters
    ----------
    pivot : Pivot
        The runs, by row and column.
    metric : str
        Their metric.
    path : pathlib.Path
        The PNG file to write.
    """
    pivot = pivot.finished()
    columns = pivot.columns
    per_row = min(len(columns), MAX_PANELS_IN_A_ROW)
    facet_rows = -(-len(columns) // per_row)
    width = max(3, per_row) * _PANEL[0]
    looks = _Looks(pivot, width)
    figure = new_figure(width, (facet_rows + 1) * _PANEL[1] + looks.legend.height)
    above, below = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=[facet_rows, 1])))

    for column, axes in zip(columns, panels(above, len(columns), per_row, sharey=True), strict=True):
        _draw(axes, pivot, [column], metric, looks, against_steps=False)
        place = axes.get_subplotspec()
        y = _unit(metric) if place is None or place.is_first_col() else ""
        label_axes(axes, "round", y, column if len(columns) > 1 else "")

    loss = "|".join(name.replace("accuracy", "loss") for name in metric.split("|"))
    runs = [run for cell in pivot.cells.values() for run in cell.runs]
    has_loss = is_accuracy(metric) and any(_through(run, loss) for run in runs)
    metrics = [metric, loss] if has_loss else [metric]
    lower = below.subplots(1, len(metrics) + 1)
    has_steps = all(run.steps is not None for run in runs)
    for name, axes in zip(metrics, lower, strict=False):
        _draw(axes, pivot, columns, name, looks, against_steps=has_steps)
        x = "local steps of all clients" if has_steps else "round"
        label_axes(axes, x, _unit(name))
    _draw_final(lower[-1], pivot, columns, metric, looks)
    looks.legend.draw(figure, looks.drawn())
    return save(figure, path)


def line_looks(pivot: Pivot) -> dict[Path, dict[str, Any]]:
    """Return directory → look of the line that `plot_sweep` draws for a run."""
    pivot = pivot.finished()
    looks = _Looks(pivot, _PANEL[0])
    return {
        run.path: looks.line(row, column)
        for row in pivot.rows
        for column in pivot.columns
        for run in pivot.runs(row, column)
    }


class _Looks:
    """A colour and a marker per row, and dashes and another marker per column, the same in all panels."""

    def __init__(self, pivot: Pivot, width: float) -> None:
        self._rows, self._columns = pivot.rows, pivot.columns
        self._colours = _row_colours(pivot)
        several = pivot.columns if len(pivot.columns) > 1 else []
        self.legend = Legend([*several, *pivot.rows], width)
        self._shown_rows = MAX_ENTRIES - len(several)

    def line(self, row: str, column: str) -> dict[str, Any]:
        place = self._rows.index(row)
        if place >= self._shown_rows:
            return UNNAMED
        return {
            "color": self._colours[row],
            "linewidth": 1.4,
            "linestyle": LINE_STYLES[self._columns.index(column) % len(LINE_STYLES)],
            "marker": MARKERS[place % len(MARKERS)],
            "markersize": 4,
            "markevery": 0.18,
        }

    def drawn(self) -> list[dict[str, Any]]:
        """Return the looks of the legend's entries."""
        first = self._columns[0]
        rows = [{**self.line(row, first), "linestyle": "-"} for row in self._rows]
        if len(self._columns) < 2:
            return rows
        plain = {"color": "black", "markersize": 5}
        columns = [
            {**plain, "marker": self.marker(column), "linestyle": LINE_STYLES[place % len(LINE_STYLES)]}
            for place, column in enumerate(self._columns)
        ]
        return [*columns, *rows]

    def marker(self, column: str) -> str:
        return COLUMN_MARKERS[self._columns.index(column) % len(COLUMN_MARKERS)]


def _row_colours(pivot: Pivot) -> dict[str, str]:
    """Return a colour per row; rows that are methods have the methods' own, as long as there are enough.

    With more rows the n-th colour goes with the n-th marker: 63 pairs are distinct.
    """
    methods = {
        row: str(
            next(run for column in pivot.columns for run in pivot.runs(row, column)).config.get("method.name")
        )
        for row in pivot.rows
    }
    if 1 < len(methods) == len(set(methods.values())) and len(methods) <= len(PALETTE):
        colours = method_colours(list(methods.values()))
        return {row: colours[methods[row]] for row in pivot.rows}
    return {row: PALETTE[i % len(PALETTE)] for i, row in enumerate(pivot.rows)}


def _draw(
    axes: Axes, pivot: Pivot, columns: Sequence[str], metric: str, looks: _Looks, *, against_steps: bool
) -> None:
    drawn: set[Path] = set()  # a run in several cells is drawn once
    for column in columns:
        for row in pivot.rows:
            runs = [found for run in pivot.runs(row, column) if (found := _through(run, metric))]
            if not runs or runs[0].path in drawn:
                continue
            drawn.add(runs[0].path)
            scale = 100 if is_accuracy(metric) else 1
            style = looks.line(row, column)
            if len(columns) == 1:
                style["linestyle"] = "-"
            steps = {run.path: run.steps for run in runs if run.steps is not None} if against_steps else None
            draw_mean_curve(axes, runs, scale, steps, **style)
    integer_ticks(axes.xaxis, most=6)
    axes.grid(alpha=0.3)


def _draw_final(axes: Axes, pivot: Pivot, columns: Sequence[str], metric: str, looks: _Looks) -> None:
    """Draw the final values against the rows.

    Lines join them if the labels are an ordered quantity; a row without a number, such as "uniform", is then
    a horizontal line.
    """
    scale = 100 if is_accuracy(metric) else 1
    ordered = is_quantity(pivot.rows)
    places = [row for row in pivot.rows if has_number(row)] if ordered else pivot.rows
    positions = np.arange(len(places))

    def final(row: str, column: str) -> tuple[float, float]:
        return mean_and_deviation([run.final * scale for run in pivot.runs(row, column)])

    for number, column in enumerate(columns):
        style = LINE_STYLES[pivot.columns.index(column) % len(LINE_STYLES)]
        means, deviations = np.array([final(row, column) for row in places]).T
        shift = 0.06 * (number - (len(columns) - 1) / 2)
        axes.errorbar(
            positions + shift,
            means,
            yerr=np.nan_to_num(deviations),
            color="black",
            linestyle=style if ordered else "none",
            linewidth=0.8,
            capsize=2,
            zorder=1,
        )
        colours = [str(looks.line(row, column)["color"]) for row in places]
        axes.scatter(
            positions + shift, means, c=colours, marker=looks.marker(column), s=30, linewidths=1.5, zorder=2
        )
        for row in set(pivot.rows) - set(places):
            reference, _ = final(row, column)
            if not np.isnan(reference):
                colour = looks.line(row, column)["color"]
                axes.axhline(reference, color=colour, linestyle=style, linewidth=1.2, zorder=0)
    long = max(map(len, places)) * len(places) > 30
    axes.set_xticks(positions, places, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_xlim(-0.5, len(positions) - 0.5)
    axes.grid(axis="y", alpha=0.3)
    label_axes(axes, pivot.corner.partition(" \\ ")[0], f"final {_unit(metric)}")


def _through(run: Run, metric: str) -> Run | None:
    """Return the same run loaded with another metric, if it has that."""
    if run.curve.name == metric:
        return run
    try:
        return load_run(run.path, metric)
    except UserError:
        return None


def _unit(metric: str) -> str:
    return readable(metric).replace(" or ", "\nor ") + (" (%)" if is_accuracy(metric) else "")
