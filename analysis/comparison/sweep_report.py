"""What a sweep leaves behind: ``table.csv``, ``table.md``, ``comparison*.png``, and a table on the screen."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from analysis.comparison.pivot import Pivot, is_accuracy, readable
from analysis.comparison.sweep_plot import plot_sweep
from analysis.comparison.sweep_table import Loaded, Rows, axes_pivot, load_finished, run_rows
from analysis.reading.sweep import read_sweep
from common.files import write_atomic


def write_report(path: Path, console: Console) -> list[Path]:
    """Write the tables and pictures of a sweep directory and print its table.

    Parameters
    ----------
    path : pathlib.Path
        A sweep directory; runs that have not finished are left out.
    console : rich.console.Console
        Where to print.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    UserError
        If no run has finished, or the runs lack every metric.
    """
    sweep = read_sweep(path)
    loaded = load_finished(sweep, sweep.metrics)
    pivots = {metric: axes_pivot(sweep, runs, metric).finished() for metric, runs in loaded.items()}
    header, rows = run_rows(sweep, loaded)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomic(path / "table.csv", text.getvalue().encode())
    write_atomic(path / "table.md", _markdown_page(pivots, loaded, header, rows).encode())
    files = [path / "table.csv", path / "table.md"]
    for number, (metric, pivot) in enumerate(pivots.items()):
        print_pivot(pivot, metric, console)
        name = "comparison.png" if number == 0 else f"comparison-{metric.partition('|')[0]}.png"
        files.append(plot_sweep(pivot, metric, path / name))
    if waiting := [run.name for run in sweep.runs if not run.is_finished]:
        console.print(f"not finished: {' '.join(waiting)}", markup=False, highlight=False)
    console.print(f"{path}: {', '.join(file.name for file in files)}", markup=False, highlight=False)
    return files


def print_pivot(pivot: Pivot, metric: str, console: Console) -> None:
    """Print a table with rows and columns."""
    header, rows = pivot.table(metric)
    table = Table(title=escape(title(pivot, metric)), title_justify="left")
    for number, name in enumerate(header):
        table.add_column(escape(name), justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def title(pivot: Pivot, metric: str) -> str:
    """Say what the numbers of a table are."""
    parts = [f"final {readable(metric)}" + (" in %" if is_accuracy(metric) else "")]
    if any(len(cell.runs) > 1 for cell in pivot.cells.values()):
        parts.append("mean ± sample standard deviation over the seeds")
    if pivot.has_published:
        parts.append("in parentheses: published, at full budget")
    return "; ".join(parts)


def markdown(header: Sequence[str], rows: Rows) -> str:
    """Return a table as Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _markdown_page(pivots: dict[str, Pivot], loaded: Loaded, header: list[str], rows: Rows) -> str:
    parts = []
    for metric, pivot in pivots.items():
        parts += [f"{title(pivot, metric)}:", markdown(*pivot.table(metric))]
    return "\n\n".join([*parts, "Every run:", markdown(header, rows)]) + "\n"
