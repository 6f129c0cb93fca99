"""What an accuracy has cost: rounds, communication, local steps and time.

``python -m analysis costs DIR [DIR ...] [--metric NAME] [--target VALUE] [--out FILE.png]`` takes
directories of runs and sweeps. It prints what each configuration has cost in all, or until the metric
reached the target, and draws the metric against every cost: the median over seeds, with a band from the
smallest value to the largest.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.table import Table

from analysis.command import command
from analysis.comparison.comparison_plot import line_looks, run_label
from analysis.comparison.median_band import band, draw_band, final_text, limits
from analysis.reading.run_directory import read_clients, read_metrics
from analysis.reading.runs import SEED_KEY, Run, differing_keys, group_seeds, load_run
from analysis.reading.sweep import is_sweep, read_sweep
from analysis.style import TEXT_SIZE, label_axes, new_figure, save
from common.errors import UserError

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
    costs["megabytes"] = _total(metrics["bytes_down"] + metrics["bytes_up"]) / 1e6
    if "local_steps" in metrics:
        costs["local_steps"] = _total(metrics["local_steps"])
    else:
        steps = read_clients(run_dir).groupby("round")["steps"].sum()
        costs["local_steps"] = _total(steps.reindex(metrics.index))
    for name in ("seconds", "virtual_seconds"):
        if name in metrics and metrics[name].notna().any():
            costs[name] = _total(metrics[name])
    return costs


def cost_table(runs: Sequence[Run], target: float | None = None) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: a row per configuration, means over its seeds.

    With a `target` the costs are those up to the first evaluation at which the metric is as good; a dash
    stands for a configuration of which not every seed gets there.
    """
    keys = [key for key in differing_keys(runs) if key != SEED_KEY]
    metric = str(runs[0].curve.name)
    groups = group_seeds(runs)
    costs = {run.path: read_costs(run.path) for run in runs}
    shown = [name for name in COSTS if all(name in table for table in costs.values())]
    rows = []
    for group in groups:
        ends = [_end(run, target) for run in group]
        cells = ["-"] * len(shown)
        if None not in ends:
            spent = pd.DataFrame([costs[run.path].loc[end] for run, end in zip(group, ends, strict=True)])
            cells = [f"{spent[name].mean():g}" for name in shown]
        rows.append([run_label(group, keys), final_text([run.curve for run in group]), *cells])
    until = "" if target is None else f" until {target:g}"
    return ["run", f"final {metric}", *(f"{COSTS[name]}{until}" for name in shown)], rows


def plot_costs(runs: Sequence[Run], path: Path) -> Path:
    """Draw the metric against each cost that all runs know, a panel each.

    Parameters
    ----------
    runs : sequence of Run
        Runs loaded with the same metric.
    path : pathlib.Path
        The PNG file to write.
    """
    metric = str(runs[0].curve.name)
    is_accuracy = metric.endswith("accuracy")
    groups = group_seeds(runs)
    keys = [key for key in differing_keys(runs) if key != SEED_KEY]
    costs = {run.path: read_costs(run.path) for run in runs}
    shown = [name for name in COSTS if all(name in table for table in costs.values())]
    bands = [band([run.curve * (100 if is_accuracy else 1) for run in group]) for group in groups]
    figure = new_figure(4 * len(shown), 4.2)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        for group, table, (colour, line) in zip(groups, bands, line_looks(groups), strict=True):
            x = pd.concat([costs[run.path][name] for run in group], axis=1).mean(axis=1).reindex(table.index)
            draw_band(axes, table, x, color=colour, linestyle=line, label=run_label(group, keys))
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        y = metric.replace("_", " ") + (" (%)" if is_accuracy else "")
        label_axes(axes, COSTS[name], y if axes is panels[0] else "")
    panels[0].set_ylim(*limits(bands))
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=TEXT_SIZE - 2,
        frameon=False,
    )  # fmt: skip
    return save(figure, path)


def _total(column: "pd.Series[float]") -> "pd.Series[float]":
    return column.fillna(0).cumsum()


def _end(run: Run, target: float | None) -> int | None:
    """Return the round up to which costs count: the last one, or where the target is reached."""
    if target is None:
        return int(run.rounds)
    is_loss = str(run.curve.name).endswith("loss")
    reached = run.curve[run.curve <= target] if is_loss else run.curve[run.curve >= target]
    return None if reached.empty else int(reached.index[0])


def _load(directories: Sequence[Path], metric: str) -> list[Run]:
    paths: list[Path] = []
    for directory in directories:
        paths += [run.path for run in read_sweep(directory).finished] if is_sweep(directory) else [directory]
    if not paths:
        raise UserError("no run has finished yet")
    return [load_run(path, metric) for path in paths]


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis costs", description="Rounds, bytes, local steps and time against accuracy."
    )
    parser.add_argument("directories", metavar="DIR", nargs="+", type=Path, help="run or sweep directory")
    parser.add_argument("--metric", default="test_accuracy", help="column of metrics.csv (test_accuracy)")
    parser.add_argument("--target", type=float, help="count costs until the metric is as good as this")
    parser.add_argument("--out", metavar="FILE.png", type=Path, help="also draw the curves into this file")
    options = parser.parse_args(arguments)
    runs = _load(options.directories, options.metric)
    header, rows = cost_table(runs, options.target)
    printed = Table(*header)
    for row in rows:
        printed.add_row(*row)
    Console().print(printed)
    if options.out:
        print(plot_costs(runs, options.out))


if __name__ == "__main__":
    sys.exit(main())
