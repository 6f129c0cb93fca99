"""One figure of several metrics over several configurations: ``python -m analysis curves RUN ...``."""

import argparse
import dataclasses
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.ticker import MaxNLocator

from analysis.command import add_picture, add_runs, add_table, check_files, command
from analysis.comparison.costs import COSTS, read_costs
from analysis.comparison.groups import Groups, load_groups, warn_of_data
from analysis.comparison.mean_curve import draw_mean_curve
from analysis.legend import Legend, line_look
from analysis.reading.run_directory import NoDataError
from analysis.reading.runs import Run, is_accuracy, mean_text, unit
from analysis.reading.selection import chosen
from analysis.style import label_axes, new_figure, panels, save
from analysis.tables import print_table, write_table
from common.command_line import Parser
from common.errors import UserError, nearest

METRICS = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
# Inches of one column and of both of a paper with two, and of a slide.
WIDTHS = {"one": 3.5, "two": 7.2, "slide": 12.0}
_RATIO = 0.72  # of a panel's height to its width
_FIELDS = {
    "rounds": "rounds",
    "bytes": "megabytes",
    "steps": "local_steps",
    "seconds": "seconds",
    "virtual": "virtual_seconds",
}


def load_metrics(
    directories: Sequence[Path], metrics: Sequence[str], *, skip: bool = False
) -> tuple[Groups, dict[str, dict[Path, Run]]]:
    """Return the configurations, and metric → directory → run, for the runs that have the metric.

    Parameters
    ----------
    directories : sequence of Path
        Runs and sweeps.
    metrics : sequence of str
        Columns of ``metrics.csv``.
    skip : bool
        Whether to leave out a metric that no run has instead of refusing it.

    Raises
    ------
    UserError
        If no run has one of the metrics (with `skip`: any of them).
    """
    groups: Groups = []
    found: dict[str, dict[Path, Run]] = {}
    problem: UserError | None = None
    for metric in metrics:
        try:
            loaded = load_groups(directories, metric)
        except UserError as error:
            if not skip:
                raise
            problem = error
            continue
        groups = loaded if len(loaded) > len(groups) else groups
        found[metric] = {run.path: run for _, runs in loaded for run in runs}
    if not found:
        raise problem or NoDataError("there is no metric")
    return groups, found


def cut_at(found: Mapping[str, Mapping[Path, Run]], against: str, limit: float) -> dict[str, dict[Path, Run]]:
    """Truncate the runs where their cost exceeds `limit`, so that their last values are at equal cost.

    Parameters
    ----------
    found : mapping
        metric → directory → run.
    against : str
        The cost, as for `plot_curves`.
    limit : float
        In the unit of the cost.

    Raises
    ------
    UserError
        If a run has no measurement up to the limit.
    """
    name = _FIELDS[against]
    costs = {path: _cost(run, name) for runs in found.values() for path, run in runs.items()}
    for path, cost in costs.items():
        if cost.iloc[-1] < limit:
            warnings.warn(
                f"{path} ends at {cost.iloc[-1]:g}, before --until {limit:g}: {COSTS[name]}", stacklevel=2
            )

    def cut(run: Run) -> Run:
        curve = run.curve[(costs[run.path].reindex(run.curve.index) <= limit).to_numpy()]
        if curve.empty:
            raise UserError(
                f"{run.path} measured no {run.curve.name} up to --until {limit:g} ({COSTS[name]})"
            )
        return dataclasses.replace(run, curve=curve)

    return {metric: {path: cut(run) for path, run in runs.items()} for metric, runs in found.items()}


def plot_curves(
    groups: Groups,
    found: Mapping[str, Mapping[Path, Run]],
    path: Path,
    *,
    width: float = WIDTHS["two"],
    against: str = "rounds",
    title: str = "",
    titles: Sequence[str] = (),
) -> Path:
    """Draw a panel per metric: the mean over seeds, with a band of one sample standard deviation.

    Parameters
    ----------
    groups : Groups
        Labelled repetitions.
    found : mapping
        metric → directory → run.
    path : Path
        The picture.
    width : float
        Inches.
    against : {'rounds', 'bytes', 'steps', 'seconds', 'virtual'}
        The horizontal axes.
    title, titles : str, sequence of str
        Above the figure, and above each panel.
    """
    per_row = _in_a_row(len(found), width)
    legend = Legend([label for label, _ in groups], width)
    looks = [legend.look(number, line_look(number)) for number in range(len(groups))]
    height = width / per_row * _RATIO * -(-len(found) // per_row) + legend.height + (0.3 if title else 0)
    figure = new_figure(width, height)
    costs = {run.path: _cost(run, _FIELDS[against]) for _, runs in groups for run in runs}
    for number, (metric, axes) in enumerate(zip(found, panels(figure, len(found), per_row), strict=True)):
        for (_, group), look in zip(groups, looks, strict=True):
            if runs := [found[metric][run.path] for run in group if run.path in found[metric]]:
                draw_mean_curve(axes, runs, 100 if is_accuracy(metric) else 1, costs, **look)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=against == "rounds"))
        label_axes(axes, COSTS[_FIELDS[against]], unit(metric), titles[number] if titles else "")
    if title:
        figure.suptitle(title)
    legend.draw(figure, looks)
    return save(figure, path)


def _cost(run: Run, name: str) -> "pd.Series[float]":
    """Return the cumulative cost of a run by round."""
    costs = read_costs(run.path)
    if name not in costs:
        needed = ": --against virtual needs runs with clock.*" if name == "virtual_seconds" else ""
        raise NoDataError(f"{run.path} does not count {COSTS[name]}{needed}")
    return costs[name]


def final_table(groups: Groups, found: Mapping[str, Mapping[Path, Run]]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: the last value of each metric for each configuration, mean ± deviation.

    Where some seeds lack the metric, the cell gives the number that have it.
    """
    rows = []
    for label, group in groups:
        row = [label]
        for metric, runs in found.items():
            scale, digits = (100, 2) if is_accuracy(metric) else (1, 4)
            values = [scale * runs[run.path].final for run in group if run.path in runs]
            text = mean_text(values, digits) if values else "-"
            row.append(text + (f" ({len(values)} of {len(group)})" if 0 < len(values) < len(group) else ""))
        rows.append(row)
    return ["configuration", *map(unit, found)], rows


def _in_a_row(count: int, width: float) -> int:
    """Return the number of panels in a row: four make two by two, and a single column stacks them."""
    if width <= WIDTHS["one"]:
        return 1
    return count if count <= 3 else -(-count // -(-count // 4)) if count > 4 else 2


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the figure and print the last values."""
    parser = Parser(prog="python -m analysis curves", description=__doc__)
    add_runs(parser)
    parser.add_argument(
        "--metric",
        metavar="NAME[,NAME]",
        help=f"columns of metrics.csv, a panel each (default: {','.join(METRICS)}, those measured)",
    )
    parser.add_argument(
        "--against", choices=tuple(_FIELDS), default="rounds", help="horizontal axis (rounds)"
    )
    parser.add_argument(
        "--until",
        metavar="VALUE",
        type=float,
        help="leave out everything beyond this value of the horizontal axis, in figure and table",
    )
    parser.add_argument(
        "--width",
        default="two",
        metavar="WIDTH",
        help=f"inches, or {', '.join(f'{name} ({inches})' for name, inches in WIDTHS.items())} (two)",
    )
    parser.add_argument("--title", default="", help="title of the figure")
    parser.add_argument("--titles", metavar="TEXT;TEXT", help="titles of the panels, separated by semicolons")
    parser.add_argument(
        "--labels", metavar="TEXT;TEXT", help="names of the configurations, in the order of the table"
    )
    add_picture(parser, "the picture (default: curves.png)")
    add_table(parser)
    options = parser.parse_args(arguments)
    check_files(options)
    width = _width(options.width)
    directories = chosen(options.directories)
    names = [name.strip() for name in (options.metric or ",".join(METRICS)).split(",") if name.strip()]
    groups, found = load_metrics(directories, list(dict.fromkeys(names)), skip=options.metric is None)
    warn_of_data(groups, directories)
    if options.until is not None:
        found = cut_at(found, options.against, options.until)
    groups, titles = _named(groups, options), _texts(options.titles, len(found), "--titles", "panels")
    header, rows = final_table(groups, found)
    print_table(header, rows)
    if options.table:
        print(write_table(options.table, header, rows))
    out = options.out or Path("curves.png")
    print(
        plot_curves(
            groups, found, out, width=width, against=options.against, title=options.title, titles=titles
        )
    )


def _width(text: str) -> float:
    if text in WIDTHS:
        return WIDTHS[text]
    try:
        inches = float(text)
    except ValueError:
        known = ", ".join(WIDTHS)
        raise UserError(f"--width takes inches or {known}, not '{text}'{nearest(text, WIDTHS)}") from None
    if not 2 <= inches <= 40:
        raise UserError(f"--width takes 2 to 40 inches, not {text}")
    return inches


def _named(groups: Groups, options: argparse.Namespace) -> Groups:
    labels = _texts(options.labels, len(groups), "--labels", "configurations")
    return [(label, runs) for label, (_, runs) in zip(labels, groups, strict=True)] if labels else groups


def _texts(text: str | None, count: int, key: str, what: str) -> list[str]:
    if text is None:
        return []
    found = [part.strip() for part in text.split(";")]
    if len(found) != count:
        raise UserError(f"{key} has {len(found)} texts, and there are {count} {what}")
    return found


if __name__ == "__main__":
    sys.exit(main())
