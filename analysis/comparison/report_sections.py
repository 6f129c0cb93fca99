"""The sections of a report: one for each question, in this order; one without an answer is left out."""

import contextlib
import dataclasses
import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from analysis.comparison.comparison_plot import plot_groups
from analysis.comparison.costs import cost_table, plot_costs, read_costs
from analysis.comparison.fairness import HEADER, by_group, fairness_rows, plot_fairness
from analysis.comparison.groups import distinct_names, without_runs
from analysis.comparison.lengths import different_lengths
from analysis.comparison.participation import participation_table
from analysis.comparison.pivot import against
from analysis.comparison.repetitions import gaps
from analysis.comparison.report_settings import differences, environment, repeat
from analysis.comparison.reported import Reported
from analysis.comparison.sweep_plot import line_looks, plot_sweep
from analysis.comparison.sweep_report import title
from analysis.comparison.sweep_table import axes_pivot, load_finished, shown_metrics
from analysis.name_list import named
from analysis.page.parts import Part, Picture, Section, Table, Text
from analysis.plots.participation import participation_counts
from analysis.reading.run_directory import (
    NoDataError,
    is_unfinished,
    read_label_distribution,
    read_summary,
)
from analysis.reading.runs import Run, data_remark, is_accuracy, mean_and_deviation, mean_text, readable
from analysis.report import summary_rows, write_plots
from common.errors import UserError
from common.files import read_regular

_MAX_SPLITS = 6
_CAPTIONS = {
    "curves": "Loss and accuracy against rounds",
    "label_distribution": "Training samples of each class that each client holds",
    "participation": "Rounds in which each client took part",
    "phases": "Seconds of each round by phase; their share of the run",
}
_OWN_SECTIONS = ("curves", "label_distribution", "participation")

_Build = Callable[[Reported], list[Part]]
_Read = Callable[[Run], object]


def sections(reported: Reported) -> list[Section]:
    """Return the sections of a report, those for which the runs have data.

    A section leaves out runs with a damaged file that it needs; it says so, and there is a warning.
    """
    found: list[tuple[str, _Build, _Read]] = [
        ("What was asked", _asked, _nothing),
        ("Result", _result, _nothing),
        ("Curves", _curves, _nothing),
        ("Costs", _costs, lambda run: read_costs(run.path)),
        ("Who holds which labels", _labels, lambda run: _labels(_alone(reported, run))),
        ("Participation", _participation, lambda run: participation_table([run], reported.metric)),
        ("Fairness among clients", _fairness, lambda run: by_group(_alone(reported, run).groups)),
        ("Further measurements", _further, _nothing),
        (
            "Settings in which the runs differ" if len(reported.runs) > 1 else "Settings",
            differences,
            _nothing,
        ),
        ("Environment", environment, lambda run: read_summary(run.path)),
        ("Run it again", repeat, _nothing),
    ]
    built = [_section(name, build, read, reported) for name, build, read in found]
    return [section for section in built if section.parts]


def _section(name: str, build: _Build, read: _Read, reported: Reported) -> Section:
    """Build a section; if that fails, read the runs one by one and build it from those that can be read."""
    with contextlib.suppress(UserError):
        return Section(name, build(reported))
    problems: dict[Path, UserError] = {}
    for run in reported.runs:
        try:
            read(run)
        except UserError as error:
            problems[run.path] = error
    rest = dataclasses.replace(reported, groups=without_runs(reported.groups, problems))
    try:
        parts = build(rest) if rest.groups else []
    except UserError as error:
        parts, problems = [], {Path(): error}
    remarks = [Text(f"Left out: {problem}", is_remark=True) for problem in problems.values()]
    for problem in problems.values():
        warnings.warn(f"'{name}' of the report is incomplete: {problem}", stacklevel=3)
    return Section(name, [*parts, *remarks])


def _alone(reported: Reported, run: Run) -> Reported:
    return dataclasses.replace(reported, groups=[("", [run])])


def _nothing(run: Run) -> None:
    """Read nothing: the section needs only what was read when the run was loaded."""


def _asked(reported: Reported) -> list[Part]:
    comments = dict.fromkeys(request.comment for request in reported.requests if request.comment)
    parts: list[Part] = [Text(comment) for comment in comments]
    if reported.sweep is None and (remark := data_remark(reported.runs)):
        parts.append(Text(remark))
    if unfinished := [run for run in reported.runs if is_unfinished(run.path)]:
        shown = ", ".join(f"{run.path.resolve().name} up to round {run.rounds}" for run in unfinished)
        parts.append(Text(f"Not finished, and shown as far as it is: {shown}.", is_remark=True))
    if reported.missing:
        parts.append(Text(f"Not finished, and left out: {', '.join(reported.missing)}.", is_remark=True))
    if reported.lacking:
        names = ", ".join(reported.lacking)
        parts.append(
            Text(f"Without a readable {readable(reported.metric)}, and left out: {names}.", is_remark=True)
        )
    return parts


def _result(reported: Reported) -> list[Part]:
    parts: list[Part] = []
    if reported.single:
        parts.append(Table(["", "value"], [[*row] for row in summary_rows(reported.single.path).items()]))
    else:
        parts += _pivots(reported)
    parts.append(Text(f"{_unit(reported.metric)}: {_explanation(reported)}.", is_remark=True))
    parts.append(result_table(reported))
    if remark := different_lengths(reported.groups):
        parts.append(Text(f"The final values are {remark}.", is_remark=True))
    return parts


def result_table(reported: Reported) -> Table:
    """Return a row per configuration: mean ± deviation over seeds, the published number, the difference."""
    scale, digits = (100, 2) if is_accuracy(reported.metric) else (1, 4)
    has_ten = _has_ten(reported)
    header = ["configuration", "final", *(["last ten"] if has_ten else []), "best"]
    header += ["published", "difference"] if reported.published else []
    rows = []
    for label, runs in reported.groups:
        columns = [[run.final for run in runs], [run.best for run in runs]]
        if has_ten:
            columns.insert(1, [run.last_ten for run in runs])
        row = [label, *(mean_text([scale * value for value in values], digits) for values in columns)]
        if reported.published:
            row += against(reported.published.get(label), scale * mean_and_deviation(columns[0])[0], digits)
        rows.append(row)
    return Table(header, rows)


def _has_ten(reported: Reported) -> bool:
    """Return whether a run was evaluated ten times, so that it has a mean of the last ten."""
    return any(not math.isnan(run.last_ten) for run in reported.runs)


def _explanation(reported: Reported) -> str:
    last_ten = "the mean of the last ten evaluations, " if _has_ten(reported) else ""
    parts = [f"the last value, {last_ten}and the best".replace("value, and", "value and")]
    if any(len(runs) > 1 for _, runs in reported.groups):
        parts.append("mean ± sample standard deviation over the seeds")
    if reported.published:
        parts.append("the difference is ours minus the published number, which is at full budget")
    return "; ".join(parts)


def _pivots(reported: Reported) -> list[Part]:
    sweep = reported.sweep
    if sweep is None or len(sweep.shown_axes) < 2:
        return []
    parts: list[Part] = []
    for metric, runs in load_finished(sweep, [reported.metric, *sweep.metrics]).items():
        pivot = axes_pivot(sweep, runs, metric).finished()
        caption = title(pivot, metric)
        parts += [Text(f"{caption[0].upper()}{caption[1:]}."), Table(*pivot.table(metric))]
    return parts


def _curves(reported: Reported) -> list[Part]:
    if reported.single:
        return _own_picture(reported.single, "curves")
    remarks = [Text(f"{remark}.", is_remark=True) for _, runs in reported.groups if (remark := gaps(runs))]
    return [_curves_picture(reported), *remarks]


def _curves_picture(reported: Reported) -> Picture:
    caption = (
        f"{_unit(reported.metric)} against rounds: means over seeds, with bands of one standard deviation"
    )
    sweep = reported.sweep
    if sweep is None:
        return _drawn("curves.png", caption, lambda path: plot_groups(reported.groups, path))
    loaded = load_finished(sweep, [reported.metric])
    (metric, runs), *_ = loaded.items()
    drawn, newest = (
        sweep.path / "comparison.png",
        max(_changed(run.path / "summary.json") for run in reported.runs),
    )
    if metric == shown_metrics(sweep)[0] and drawn.is_file() and _changed(drawn) >= newest:
        return Picture("curves.png", read_regular(drawn), caption)
    pivot = axes_pivot(sweep, runs, metric)
    return _drawn("curves.png", caption, lambda path: plot_sweep(pivot, metric, path))


def _costs(reported: Reported) -> list[Part]:
    header, rows = cost_table(reported.groups)
    caption = f"{_unit(reported.metric)} against its costs"
    if not reported.single:
        caption += ": the median over seeds, with a band from the smallest to the largest"
    # The final metric is in the table of results.
    table = Table([header[0], *header[2:]], [[row[0], *row[2:]] for row in rows])
    looks = _sweep_looks(reported)
    return [table, _drawn("costs.png", caption, lambda path: plot_costs(reported.groups, path, looks))]


def _sweep_looks(reported: Reported) -> dict[Path, dict[str, Any]]:
    """Return the looks that the runs of a sweep have in its picture of the curves."""
    if reported.sweep is None:
        return {}
    (metric, runs), *_ = load_finished(reported.sweep, [reported.metric]).items()
    return line_looks(axes_pivot(reported.sweep, runs, metric))


def _labels(reported: Reported) -> list[Part]:
    """Show each split of the data once, even if runs share it."""
    splits: dict[tuple[tuple[str, ...], bytes], list[Run]] = {}
    for run in reported.runs:
        try:
            counts = read_label_distribution(run.path)
        except NoDataError:
            continue
        # With a million clients, formatting the table would take seconds.
        key = (tuple(counts.columns), counts.to_numpy(np.int64).tobytes())
        splits.setdefault(key, []).append(run)
    parts: list[Part] = []
    paths = [run.path for run in reported.runs]
    called = dict(zip(paths, distinct_names(paths), strict=True))
    for number, runs in enumerate(list(splits.values())[:_MAX_SPLITS]):
        names = ", ".join(called[run.path] for run in runs[:4]) + (", …" if len(runs) > 4 else "")
        parts += _own_picture(runs[0], "label_distribution", "" if reported.single else f" ({names})", number)
    if len(splits) > _MAX_SPLITS:
        parts.append(Text(f"{len(splits) - _MAX_SPLITS} further splits are not shown.", is_remark=True))
    return parts


def _participation(reported: Reported) -> list[Part]:
    runs = [run for run in reported.runs if _took_part(run)]
    if not runs:
        return []
    header, rows = participation_table(runs, reported.metric)
    names: dict[tuple[str, ...], list[str]] = {}  # runs with the same cohorts share a row
    for name, *values, _ in rows:  # the final metric is in the table of results
        names.setdefault(tuple(values), []).append(name)
    merged = [[named(found, "; "), *values] for values, found in names.items()]
    parts: list[Part] = [Table(header[:-1], merged)]
    return parts + (_own_picture(reported.single, "participation") if reported.single else [])


def _took_part(run: Run) -> bool:
    """Return whether a run has recorded who took part; a damaged record is an error."""
    try:
        participation_counts(run.path)
    except NoDataError:
        return False
    return True


def _fairness(reported: Reported) -> list[Part]:
    found = by_group(reported.groups)
    if not found:
        return []
    caption = "Share of the clients whose accuracy is at most this; the worst tenth is shaded"
    return [
        Text(
            "Accuracies of clients on their own test data at their last evaluation, in %; the deviation is"
            " that among clients, and the worst tenth is the mean of the clients with the lowest accuracies.",
            is_remark=True,
        ),
        Table(["", *HEADER], fairness_rows(found)),
        _drawn("fairness.png", caption, lambda path: plot_fairness(found, path)),
    ]


def _further(reported: Reported) -> list[Part]:
    if reported.single is None:
        return []
    folder = _pictures_of(reported.single)
    names = sorted(path.stem for path in folder.glob("*.png"))
    return [
        part for name in names if name not in _OWN_SECTIONS for part in _own_picture(reported.single, name)
    ]


def _own_picture(run: Run, name: str, remark: str = "", number: int = 0) -> list[Part]:
    """Return one of the run's own pictures in ``plots/``."""
    path = _pictures_of(run) / f"{name}.png"
    if not path.is_file():
        return []
    caption = _CAPTIONS.get(name, name.replace("_", " ").capitalize())
    return [Picture(f"{name}{number or ''}.png", read_regular(path), f"{caption}{remark}")]


def _pictures_of(run: Run) -> Path:
    """Return ``plots/`` of a run; redraw it if it is older than the run's end and can be written."""
    folder = run.path / "plots"
    drawn = [_changed(path) for path in folder.glob("*.png")]
    if not drawn or max(drawn) < _changed(run.path / "metrics.csv"):
        try:
            write_plots(run.path)
        except UserError as error:
            if not drawn:
                raise
            warnings.warn(f"the pictures in {folder} may be older than the run: {error}", stacklevel=1)
    return folder


def _drawn(name: str, caption: str, draw: Callable[[Path], Path]) -> Picture:
    with tempfile.TemporaryDirectory() as folder:
        return Picture(name, draw(Path(folder, name)).read_bytes(), caption)


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _unit(metric: str) -> str:
    return readable(metric).capitalize() + (" (%)" if is_accuracy(metric) else "")
