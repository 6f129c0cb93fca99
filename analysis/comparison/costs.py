"""What an accuracy has cost: rounds, communication, local steps and time.

``python -m analysis costs DIR [DIR ...] [--metric NAME] [--target VALUE] [--out FILE] [--csv FILE]`` takes
directories of runs and sweeps. It prints what each configuration has cost in all, or until the metric
reached the target, and draws the metric against every cost: the median over seeds, with a band from the
smallest value to the largest.
"""

import csv
import io
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.ticker import MaxNLocator
from rich.markup import escape
from rich.table import Table

from analysis.command import command
from analysis.comparison.comparison_plot import LINE_STYLES, run_label
from analysis.comparison.median_band import band, draw_band, final_text, limits
from analysis.comparison.sweep_table import load_finished
from analysis.reading.run_directory import read_clients, read_metrics
from analysis.reading.runs import SEED_KEY, Run, default_metric, differing_keys, group_seeds, load_run
from analysis.reading.sweep import Sweep, is_sweep, read_sweep
from analysis.style import PALETTE, TEXT_SIZE, label_axes, new_figure, save
from common.command_line import Parser, make_console
from common.errors import UserError
from common.files import write_atomic

Groups = list[tuple[str, list[Run]]]
"""Label and repetitions of each configuration."""

_PANEL_WIDTH, _PANEL_HEIGHT = 4.0, 3.6  # inches
_LEGEND_SIZE = TEXT_SIZE - 2
_LETTER_INCHES, _HANDLE_INCHES, _LINE_INCHES = 0.075, 0.8, 0.19  # of a legend in that size

# Column of `read_costs` → label of an axis and of a column.
COSTS = {
    "rounds": "rounds",
    "megabytes": "communication (MB, both ways)",
    "local_steps": "local steps of all clients",
    "seconds": "wall time (s)",
    "virtual_seconds": "virtual time (s)",
}


def read_costs(run_dir: Path) -> pd.DataFrame:
    """Return what a run has cost up to each round, indexed by round.

    Returns
    -------
    pandas.DataFrame
        ``rounds``; ``megabytes`` of 10^6 bytes to clients and from them; ``local_steps`` of all clients
        together, from ``clients.csv`` where ``metrics.csv`` does not count them; ``seconds``;
        ``virtual_seconds`` of a run with a virtual clock.

    Raises
    ------
    UserError
        If a file is missing or not such a table.
    """
    metrics = read_metrics(run_dir).set_index("round")
    costs = pd.DataFrame({"rounds": metrics.index}, index=metrics.index)
    if {"bytes_down", "bytes_up"} <= set(metrics):
        costs["megabytes"] = _total(metrics["bytes_down"] + metrics["bytes_up"]) / 1e6
    if "local_steps" in metrics:
        costs["local_steps"] = _total(metrics["local_steps"])
    elif "steps" in (clients := read_clients(run_dir)):
        costs["local_steps"] = _total(clients.groupby("round")["steps"].sum().reindex(metrics.index))
    for name in ("seconds", "virtual_seconds"):
        if name in metrics and metrics[name].notna().any():
            costs[name] = _total(metrics[name])
    return costs


def by_configuration(runs: Sequence[Run]) -> Groups:
    """Group repetitions with other seeds, labelled by the keys in which configurations differ."""
    keys = [key for key in differing_keys(runs) if key != SEED_KEY]
    return [(run_label(group, keys), group) for group in group_seeds(runs)]


def cost_table(groups: Groups, target: float | None = None) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: a row per configuration, means over its seeds.

    With a `target` the costs are those up to the first evaluation at which the metric is as good; a dash
    stands for a configuration of which not every seed gets there.
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


def plot_costs(groups: Groups, path: Path) -> Path:
    """Draw the metric against each cost that all runs know, a panel each.

    Parameters
    ----------
    groups : Groups
        Labelled repetitions, loaded with the same metric.
    path : pathlib.Path
        The picture to write.
    """
    metric = str(groups[0][1][0].curve.name)
    is_accuracy = metric.endswith("accuracy")
    costs, shown = _costs(groups)
    bands = [band([run.curve * (100 if is_accuracy else 1) for run in group]) for _, group in groups]
    width = _PANEL_WIDTH * len(shown)
    legend = _Legend([label for label, _ in groups], width)
    figure = new_figure(width, _PANEL_HEIGHT + legend.height)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        for number, ((_, group), table) in enumerate(zip(groups, bands, strict=True)):
            x = pd.concat([costs[run.path][name] for run in group], axis=1).mean(axis=1).reindex(table.index)
            look = {"color": PALETTE[number % len(PALETTE)], "label": legend.labels[number]}
            draw_band(
                axes, table, x, linestyle=LINE_STYLES[number // len(PALETTE) % len(LINE_STYLES)], **look
            )
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        y = metric.replace("_", " ") + (" (%)" if is_accuracy else "")
        label_axes(axes, COSTS[name], y if axes is panels[0] else "")
    panels[0].set_ylim(*limits(bands))
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=legend.columns,
        fontsize=_LEGEND_SIZE, frameon=False,
    )  # fmt: skip
    return save(figure, path)


class _Legend:
    """How labels of any length fit below a picture: as many in a row as there is room for, long ones wrapped.

    Attributes
    ----------
    labels : list of str
        The labels, with line breaks.
    columns : int
        Labels in a row.
    height : float
        Inches that the rows take.
    """

    def __init__(self, labels: Sequence[str], width: float) -> None:
        room = int((width - _HANDLE_INCHES) / _LETTER_INCHES)
        self.labels = ["\n".join(textwrap.wrap(label, room)) or label for label in labels]
        longest = max(len(line) for label in self.labels for line in label.split("\n"))
        self.columns = max(1, int(width / (longest * _LETTER_INCHES + _HANDLE_INCHES)))
        lines = max(label.count("\n") + 1 for label in self.labels)
        self.height = _LINE_INCHES * lines * -(-len(labels) // self.columns)


def _costs(groups: Groups) -> tuple[dict[Path, pd.DataFrame], list[str]]:
    """Return the costs of every run, and which of them all runs know."""
    costs = {run.path: read_costs(run.path) for _, group in groups for run in group}
    return costs, [name for name in COSTS if all(name in table for table in costs.values())]


def _total(column: "pd.Series[float]") -> "pd.Series[float]":
    return column.fillna(0).cumsum()


def _end(run: Run, target: float | None) -> int | None:
    """Return the round up to which costs count: the last one, or where the target is reached."""
    if target is None:
        return int(run.rounds)
    is_loss = str(run.curve.name).endswith("loss")
    reached = run.curve[run.curve <= target] if is_loss else run.curve[run.curve >= target]
    return None if reached.empty else int(reached.index[0])


def load_groups(directories: Sequence[Path], metric: str) -> Groups:
    """Return the runs of directories: those of a sweep by their labels, others by what differs."""
    groups: Groups = []
    alone: list[Run] = []
    for directory in directories:
        if is_sweep(directory):
            prefix = f"{directory.resolve().name}: " if len(directories) > 1 else ""
            sweep = read_sweep(directory)
            loaded = next(iter(load_finished(sweep, [metric]).values()))
            found = by_label(sweep, loaded)
            groups += [(with_seeds(f"{prefix}{label}", runs), runs) for label, runs in found.items()]
        else:
            alone.append(load_run(directory, metric))
    groups += by_configuration(alone) if alone else []
    if not groups:
        raise UserError("no run has finished yet")
    return groups


def by_label(sweep: Sweep, loaded: Mapping[str, Run]) -> dict[str, list[Run]]:
    """Return label → the runs of a sweep that have it, once each; `loaded` has them by name."""
    groups: dict[str, dict[Path, Run]] = {}
    for entry in sweep.runs:
        if entry.name in loaded:
            groups.setdefault(sweep.label(entry), {})[entry.path] = loaded[entry.name]
    return {label: list(runs.values()) for label, runs in groups.items()}


def with_seeds(label: str, runs: Sequence[Run]) -> str:
    """Return a label that says how many repetitions there are, if several."""
    return f"{label} ({len(runs)} seeds)" if len(runs) > 1 else label


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the picture."""
    parser = Parser(
        prog="python -m analysis costs", description="Rounds, bytes, local steps and time against accuracy."
    )
    parser.add_argument("directories", metavar="DIR", nargs="+", type=Path, help="run or sweep directory")
    parser.add_argument("--metric", help="column of metrics.csv (test_accuracy)")
    parser.add_argument("--target", type=float, help="count costs until the metric is as good as this")
    parser.add_argument("--out", metavar="FILE", type=Path, help="draw the curves (.png, .pdf or .svg)")
    parser.add_argument("--csv", metavar="FILE.csv", type=Path, help="also write the table into this file")
    options = parser.parse_args(arguments)
    groups = load_groups(options.directories, options.metric or default_metric(options.directories))
    header, rows = cost_table(groups, options.target)
    printed = Table(*map(escape, header))
    for row in rows:
        printed.add_row(*map(escape, row))
    make_console().print(printed)
    if options.csv:
        print(_export(header, rows, options.csv))
    if options.out:
        print(plot_costs(groups, options.out))


def _export(header: Sequence[str], rows: Sequence[Sequence[str]], path: Path) -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    try:
        write_atomic(path, text.getvalue().encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    return path


if __name__ == "__main__":
    sys.exit(main())
