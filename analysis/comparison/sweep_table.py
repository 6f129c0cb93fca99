"""The tables of a sweep: rows and columns by its axes, and one row per run."""

import math
import warnings
from collections.abc import Sequence

from analysis.comparison.pivot import Pivot
from analysis.reading.run_directory import NoDataError
from analysis.reading.runs import Run, default_metric, default_metrics, load_run, readable
from analysis.reading.sweep import Sweep, SweepRun
from common.errors import UserError

Rows = list[list[str]]
Loaded = dict[str, dict[str, Run]]  # metric → name → run


def shown_metrics(sweep: Sweep) -> list[str]:
    """Return the metrics that a sweep's file names; if it names none and no number, the informative ones."""
    if list(sweep.metrics) == ["test_accuracy"] and not any(entry.published for entry in sweep.runs):
        return default_metrics([sweep.path])
    return list(sweep.metrics)


def load_finished(sweep: Sweep, metrics: Sequence[str]) -> Loaded:
    """Load the finished runs with each metric; a run may lack one that others have, or be damaged.

    Warns of damaged runs.

    Raises
    ------
    UserError
        If no run has finished, or none has any of the metrics.
    """
    finished = [run for run in sweep.runs if run.is_finished]
    if not finished:
        raise UserError(f"{sweep.path}: no run has finished yet")
    loaded: Loaded = {}
    problem: UserError | None = None
    for metric in metrics:
        found: dict[str, Run] = {}
        for run in finished:
            try:
                found[run.name] = load_run(run.path, metric)
            except NoDataError as error:
                problem = error
            except UserError as error:
                problem = error
                warnings.warn(f"left out: {error}", stacklevel=2)
        if found:
            loaded[metric] = found
    if not loaded and "test_accuracy" in metrics:  # the targets are numbers, or the test set was held back
        other = default_metric([run.path for run in finished])
        if other not in metrics:
            return load_finished(sweep, [other])
    if not loaded and problem is not None:
        raise problem
    return loaded


def axes_pivot(
    sweep: Sweep,
    runs: dict[str, Run],
    metric: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Pivot:
    """Lay out a sweep by its axes; seeds are repetitions.

    Parameters
    ----------
    sweep : Sweep
        The sweep.
    runs : dict
        name → run, for those that have the metric.
    metric : str
        The metric: the header of the only column if there is one axis, the only row if all axes are columns.
    rows, columns : sequence of str, optional
        Axes. By default the last one is for the columns and the others for the rows.
    """
    shown = sweep.shown_axes
    if columns is None:
        columns = [axis for axis in shown[1:] if axis not in (rows or ())][-1:]
    if rows is None:
        rows = [axis for axis in shown if axis not in columns]
    for axis in (*rows, *columns):
        if axis not in sweep.axes:
            raise UserError(f"{sweep.path} has no axis '{axis}'; axes: {', '.join(sweep.axes)}")
    corner = ", ".join(rows) + (f" \\ {', '.join(columns)}" if columns else "")
    pivot = Pivot(corner)
    for entry in sweep.runs:
        row = _joined(entry, rows) or (metric if shown else sweep.label(entry))
        cell = pivot.at(row, _joined(entry, columns) or f"final {readable(metric)}")
        if entry.name in runs:
            cell.runs.append(runs[entry.name])
        if cell.published is None and metric == sweep.metrics[0]:
            cell.published = entry.published
    return pivot


def run_rows(sweep: Sweep, loaded: Loaded) -> tuple[list[str], Rows]:
    """Return header and rows of a table with one row per finished run, numbers in full precision."""
    header = ["run", *sweep.axes]
    for metric in loaded:
        header += [f"{kind}_{metric}" for kind in ("final", "last_ten", "best")]
    header += ["rounds", "local_steps", "seconds", "same_as"]
    rows = []
    for entry in sweep.runs:
        found = [runs.get(entry.name) for runs in loaded.values()]
        known = next((run for run in found if run is not None), None)
        if known is None:
            continue
        row = [entry.name, *(entry.labels[axis] for axis in sweep.axes)]
        for run in found:
            values = (run.final, run.last_ten, run.best) if run else ()
            row += ["" if math.isnan(value) else f"{value:.6g}" for value in values] or [""] * 3
        steps = "" if known.steps is None else str(int(known.steps.iloc[-1]))
        same_as = entry.path.name if entry.path.name != entry.name else ""
        rows.append([*row, str(known.rounds), steps, f"{known.seconds:.1f}", same_as])
    return header, rows


def _joined(run: SweepRun, axes: Sequence[str]) -> str:
    return ",".join(run.labels[axis] for axis in axes)
