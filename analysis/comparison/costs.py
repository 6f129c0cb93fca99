"""The cost of reaching an accuracy: rounds, communication, local steps and time.

``python -m analysis costs RUN ... [--metric NAME] [--target VALUE] [--out FILE] [--table FILE]`` prints the
costs of each configuration, in total or until the metric reached the target, and plots the metric against
each cost: the median over seeds, with a band from the smallest value to the largest.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from analysis.command import add_picture, add_runs, add_table, check_files, command, for_each
from analysis.comparison.groups import Groups, load_groups, warn_of_data, without_runs
from analysis.comparison.median_band import band, draw_band, final_text, limits
from analysis.comparison.repetitions import common_rounds
from analysis.legend import Legend, line_look
from analysis.reading.run_directory import read_clients, read_metrics
from analysis.reading.runs import Run, default_metric, is_accuracy, unit
from analysis.reading.selection import chosen
from analysis.style import TEXT_SIZE, label_axes, new_figure, panels, save
from analysis.tables import print_table, write_table
from common.command_line import Parser
from common.sections import lower_is_better

_PANEL_WIDTH, _PANEL_HEIGHT = 4.0, 3.6  # inches

# Column of `read_costs` → label of the axis and of the table's column.
COSTS = {
    "rounds": "rounds",
    "megabytes": "communication (MB, both ways)",
    "local_steps": "local steps of all clients",
    "seconds": "wall time (s)",
    "virtual_seconds": "virtual time (s)",
}

_COUNTS = ("rounds", "local_steps")
_WHAT = "median over seeds, band from the smallest to the largest value"


def read_costs(run_dir: Path) -> pd.DataFrame:
    """Return the cumulative costs of a run, indexed by round.

    Returns
    -------
    pandas.DataFrame
        ``rounds``; ``megabytes`` of 10^6 bytes to and from clients, or for decentralised methods over
        the links between clients (``peer_bytes``); ``local_steps`` of all clients
        together, from ``clients.csv`` where ``metrics.csv`` does not count them; ``seconds``;
        ``virtual_seconds`` of a run with a virtual clock.

    Raises
    ------
    UserError
        If a file is missing or malformed.
    """
    metrics = read_metrics(run_dir).set_index("round")
    costs = pd.DataFrame({"rounds": metrics.index}, index=metrics.index)
    if "peer_bytes" in metrics:
        costs["megabytes"] = _total(metrics["peer_bytes"]) / 1e6
    elif {"bytes_down", "bytes_up"} <= set(metrics):
        costs["megabytes"] = _total(metrics["bytes_down"] + metrics["bytes_up"]) / 1e6
    if "local_steps" in metrics:
        costs["local_steps"] = _total(metrics["local_steps"])
    elif "steps" in (clients := read_clients(run_dir)):
        costs["local_steps"] = _total(clients.groupby("round")["steps"].sum().reindex(metrics.index))
    for name in ("seconds", "virtual_seconds"):
        if name in metrics and metrics[name].notna().any():
            costs[name] = _total(metrics[name])
    return costs


def cost_table(groups: Groups, target: float | None = None) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: a row per configuration, means over its seeds.

    With a `target`, costs count up to the first evaluation at which the metric is at least as good; a dash
    marks a configuration in which not every seed reaches it.
    """
    costs, shown = _costs(groups)
    rows = []
    for label, group in groups:
        ends = [_end(run, target) for run in group]
        cells = ["-"] * len(shown)
        reached = [end for end in ends if end is not None]
        if len(reached) == len(group):
            tables = zip([costs[run.path] for run in group], reached, strict=True)
            spent = pd.concat([table[table.index <= end].iloc[-1:] for table, end in tables])
            cells = [f"{spent[name].mean():g}" for name in shown]
        rows.append([label, final_text([run.curve for run in group]), *cells])
    until = "" if target is None else f" until {target:g}"
    metric = groups[0][1][0].curve.name
    return ["run", f"final {metric}", *(f"{COSTS[name]}{until}" for name in shown)], rows


def plot_costs(groups: Groups, path: Path, given: Mapping[Path, dict[str, Any]] | None = None) -> Path:
    """Plot the metric against each cost that all runs have recorded, a panel each.

    The picture says that lines are medians and bands go from the smallest to the largest value.

    Parameters
    ----------
    groups : Groups
        Labelled repetitions, loaded with the same metric.
    path : pathlib.Path
        The picture to write.
    given : mapping, optional
        Run directory → look of its line, where another picture has it already.
    """
    metric = str(groups[0][1][0].curve.name)
    scale = 100 if is_accuracy(metric) else 1
    costs, shown = _costs(groups)
    bands = [band(common_rounds(group) * scale) for _, group in groups]
    width = _PANEL_WIDTH * len(shown)
    legend = Legend([label for label, _ in groups], width)
    known = [(given or {}).get(runs[0].path) for _, runs in groups]
    looks = [legend.look(number, look or line_look(number)) for number, look in enumerate(known)]
    figure = new_figure(width, _PANEL_HEIGHT + legend.height)
    found = panels(figure, len(shown), len(shown), sharey=True)
    for axes, name in zip(found, shown, strict=True):
        for (_, group), table, look in zip(groups, bands, looks, strict=True):
            x = pd.concat([costs[run.path][name] for run in group], axis=1).mean(axis=1).reindex(table.index)
            draw_band(axes, table, x, **look)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=name in _COUNTS))
        label_axes(axes, COSTS[name], unit(metric) if axes is found[0] else "")
    found[0].set_ylim(*limits(bands))
    if any(len(runs) > 1 for _, runs in groups):
        figure.suptitle(_WHAT, fontsize=TEXT_SIZE)
    legend.draw(figure, looks)
    return save(figure, path)


def _costs(groups: Groups) -> tuple[dict[Path, pd.DataFrame], list[str]]:
    """Return the costs of every run, and the names of those that all runs have recorded."""
    costs = {run.path: read_costs(run.path) for _, group in groups for run in group}
    return costs, [name for name in COSTS if all(name in table for table in costs.values())]


def _readable(groups: Groups) -> Groups:
    """Skip runs with a damaged file, with a warning each, if others remain."""
    found: list[Path] = []

    def read(run_dir: Path) -> None:
        read_costs(run_dir)
        found.append(run_dir)

    runs = [run.path for _, group in groups for run in group]
    for_each(runs, read)
    return without_runs(groups, set(runs) - set(found))


def _total(column: "pd.Series[float]") -> "pd.Series[float]":
    return column.fillna(0).cumsum()


def _end(run: Run, target: float | None) -> int | None:
    """Return the round up to which costs count: the last, or the one that reaches the target, if any does."""
    if target is None:
        return int(run.rounds)
    reached = run.curve[run.curve <= target if lower_is_better(str(run.curve.name)) else run.curve >= target]
    return None if reached.empty else int(reached.index[0])


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the picture."""
    parser = Parser(
        prog="python -m analysis costs", description="Rounds, bytes, local steps and time against accuracy."
    )
    add_runs(parser)
    parser.add_argument("--metric", help="column of metrics.csv (default: the most informative)")
    parser.add_argument("--target", type=float, help="count costs until the metric is at least this good")
    add_picture(parser, "draw the curves into this file")
    add_table(parser)
    parser.add_argument("--csv", metavar="FILE.csv", type=Path, help="as --table")
    options = parser.parse_args(arguments)
    check_files(options)
    directories = chosen(options.directories)
    groups = load_groups(directories, options.metric or default_metric(directories))
    groups = _readable(groups)
    warn_of_data(groups, directories)
    header, rows = cost_table(groups, options.target)
    print_table(header, rows)
    for file in filter(None, (options.table, options.csv)):
        print(write_table(file, header, rows))
    if options.out:
        print(plot_costs(groups, options.out))


if __name__ == "__main__":
    sys.exit(main())
