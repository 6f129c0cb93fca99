"""Table and picture of a search: its metric against every searched key."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.command import add_picture, add_table, check_files, check_single, command, for_each
from analysis.reading.run_directory import NoDataError
from analysis.reading.runs import is_accuracy, readable
from analysis.reading.selection import matching
from analysis.style import PALETTE, TEXT_SIZE, label_axes, new_figure, panels, save
from analysis.tables import as_csv, as_markdown, write_table
from common.command_line import Parser, make_console
from common.files import write_atomic
from common.search.trials import Trial, ranked, read_search, read_trials

_MAX_SHOWN = 10
_PANELS_IN_A_ROW = 3
_PANEL = (3.6, 3.1)  # inches


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the table and the picture that a search writes at its end."""
    parser = Parser(
        prog="python -m analysis search",
        description="Table and picture of searches, finished or not: search.csv, search.md, search.png.",
    )
    parser.add_argument(
        "directories", metavar="SEARCH", nargs="+", type=Path, help="directory of a search, or a pattern"
    )
    add_picture(parser, "also draw the picture into this file, for a single search")
    add_table(parser)
    options = parser.parse_args(arguments)
    check_files(options)
    directories = matching(options.directories)
    check_single(options, directories, "search")
    for_each(directories, lambda directory: _write_and_print(directory, options))


def _write_and_print(directory: Path, options: argparse.Namespace) -> None:
    for file in write_search_report(directory, make_console()):
        print(file)
    search = read_search(directory)
    trials = read_trials(directory, search["objective"])
    if options.table:
        rows = _rows(_ordered(trials, search["maximize"]), list(search["keys"]), search["objective"])
        print(write_table(options.table, *rows))
    if options.out:
        if all(trial.value is None for trial in trials):
            raise NoDataError(f"{directory}: no trial has a value yet")
        print(plot_search(search, trials, options.out))


def write_search_report(directory: Path, console: Console) -> list[Path]:
    """Write ``search.csv``, ``search.md`` and ``search.png``, and print the best trials; return the files.

    Raises
    ------
    UserError
        If the directory holds no search, or a file is damaged.
    """
    search = read_search(directory)
    objective, maximize = search["objective"], search["maximize"]
    trials = read_trials(directory, objective)
    ordered = _ordered(trials, maximize)
    header, rows = _rows(ordered, list(search["keys"]), objective)
    write_atomic(directory / "search.csv", as_csv(header, rows).encode())
    page = f"{readable(objective)} in the last round, on validation data; the best trial first:\n\n"
    write_atomic(directory / "search.md", (page + as_markdown(header, rows) + "\n").encode())
    _print(header, rows, readable(objective), console)
    files = [directory / "search.csv", directory / "search.md"]
    if any(trial.value is not None for trial in trials):
        files.append(plot_search(search, trials, directory / "search.png"))
    return files


def _ordered(trials: Sequence[Trial], maximize: bool) -> list[Trial]:
    best = ranked(list(trials), maximize)
    return [*best, *(trial for trial in trials if trial not in best)]


def _rows(trials: Sequence[Trial], keys: Sequence[str], objective: str) -> tuple[list[str], list[list[str]]]:
    header = ["trial", *keys, objective, "state", "remark"]
    rows = [
        [
            trial.name,
            *(_text(trial.values.get(key)) for key in keys),
            "" if trial.value is None else f"{trial.value:.6g}",
            trial.state,
            trial.remark,
        ]
        for trial in trials
    ]
    return header, rows


def _text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _print(header: Sequence[str], rows: Sequence[Sequence[str]], what: str, console: Console) -> None:
    table = Table(title=escape(f"{what}, on validation data"), title_justify="left")
    for name in header[:-1]:
        table.add_column(escape(name))
    for row in rows[:_MAX_SHOWN]:
        table.add_row(*map(escape, row[:-1]))
    console.print(table)
    if len(rows) > _MAX_SHOWN:
        console.print(f"and {len(rows) - _MAX_SHOWN} more in search.csv", highlight=False)


def plot_search(search: dict[str, Any], trials: Sequence[Trial], path: Path) -> Path:
    """Plot the objective of the trials that have one against each searched key.

    Parameters
    ----------
    search : dict
        The content of ``search.json``.
    trials : sequence of Trial
        Its trials.
    path : pathlib.Path
        The file.
    """
    keys = list(search["keys"])
    per_row = min(len(keys), _PANELS_IN_A_ROW)
    num_rows = -(-len(keys) // per_row)
    figure = new_figure(max(1.4, per_row) * _PANEL[0], num_rows * _PANEL[1] + 0.4)
    found = panels(figure, len(keys), per_row, sharey=True)
    best = next(iter(ranked(list(trials), search["maximize"])), None)
    objective = search["objective"]
    legend: dict[str, Artist] = {}
    for key, axes in zip(keys, found, strict=True):
        _draw(axes, key, search["keys"][key], trials, best, 100 if is_accuracy(objective) else 1)
        unit = f"{readable(objective)} (%)" if is_accuracy(objective) else readable(objective)
        place = axes.get_subplotspec()
        label_axes(axes, key, unit if place is None or place.is_first_col() else "")
        handles, labels = axes.get_legend_handles_labels()
        legend = dict(zip(labels, handles, strict=True)) | legend  # a key may be missing in some trials
    figure.legend(
        legend.values(), legend, loc="outside upper center", ncols=3, fontsize=TEXT_SIZE - 1, frameon=False
    )
    return save(figure, path)


def _draw(
    axes: Axes, key: str, space: dict[str, Any], trials: Sequence[Trial], best: Trial | None, scale: float
) -> None:
    values = space.get("values")
    if values is not None:
        axes.set_xticks(range(len(values)), [_text(value) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
    elif space.get("log"):
        low, high = space["low"], space["high"]
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(
            [low, (low * high) ** 0.5, high], [f"{x:.2g}" for x in (low, (low * high) ** 0.5, high)]
        )
        axes.set_xlim(low / (high / low) ** 0.05, high * (high / low) ** 0.05)
    looks: dict[str, dict[str, Any]] = {
        "finished": {"color": PALETTE[0], "marker": "o", "label": "finished"},
        "pruned": {"facecolors": "none", "edgecolors": PALETTE[8], "marker": "o", "label": "ended early"},
    }
    for state, look in looks.items():
        points = [
            (_place(trial.values[key], values), trial.value * scale)
            for trial in trials
            if trial.state == state and trial.value is not None and key in trial.values
        ]
        if points:
            x, y = np.array(points, dtype=float).T
            axes.scatter(x, y, s=22, zorder=2, **look)
    if best is not None and best.value is not None and key in best.values:
        place = _place(best.values[key], values)
        axes.scatter(
            [place], [best.value * scale], s=130, marker="*", color=PALETTE[4], zorder=3, label=best.name
        )
    axes.grid(alpha=0.3)


def _place(value: Any, values: Sequence[Any] | None) -> float:
    """Return the x coordinate of a value: the number itself, or the index of a choice."""
    if values is None:
        return float(value)
    return float(next(i for i, known in enumerate(values) if known == value and type(known) is type(value)))
