"""The results of a sweep: ``table`` as CSV, Markdown and LaTeX, pictures, and a table on the screen."""

from pathlib import Path

from rich.console import Console

from analysis.comparison.heat_map import is_grid, plot_heat_map
from analysis.comparison.lengths import different_lengths
from analysis.comparison.pivot import Pivot
from analysis.comparison.sweep_plot import plot_sweep
from analysis.comparison.sweep_table import Loaded, Rows, axes_pivot, load_finished, run_rows, shown_metrics
from analysis.name_list import named
from analysis.reading.runs import HOW_MEASURED, SEED_KEY, is_accuracy, readable, telling_keys
from analysis.reading.sweep import read_sweep
from analysis.tables import as_csv, as_latex, as_markdown, print_table
from common.experiment import OWN_ACCURACY
from common.files import write_atomic


def write_report(path: Path, console: Console) -> list[Path]:
    """Write the tables and pictures of a sweep directory and print its table.

    Parameters
    ----------
    path : pathlib.Path
        A sweep directory; unfinished runs are left out.
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
    loaded = load_finished(sweep, shown_metrics(sweep))
    pivots = {metric: axes_pivot(sweep, runs, metric).finished() for metric, runs in loaded.items()}
    header, rows = run_rows(sweep, loaded)
    write_atomic(path / "table.csv", as_csv(header, rows).encode())
    write_atomic(path / "table.md", _markdown_page(pivots, loaded, header, rows).encode())
    write_atomic(path / "table.tex", _latex_file(pivots).encode())
    files = [path / "table.csv", path / "table.md", path / "table.tex"]
    for number, (metric, pivot) in enumerate(pivots.items()):
        print_table(*pivot.table(metric), console, title=title(pivot, metric))
        if lacking := [run.name for run in sweep.runs if run.is_finished and run.name not in loaded[metric]]:
            how = f" ({HOW_MEASURED})" if metric == OWN_ACCURACY else ""
            console.print(f"without {metric}: {named(lacking, ' ', 8)}{how}", markup=False, highlight=False)
        end = "" if number == 0 else f"-{metric.partition('|')[0]}"
        files.append(plot_sweep(pivot, metric, path / f"comparison{end}.png"))
        if is_grid(pivot):
            files.append(plot_heat_map(pivot, metric, path / f"heat-map{end}.png"))
    if waiting := [run.name for run in sweep.runs if not run.is_finished]:
        console.print(f"not finished: {named(waiting, ' ', 8)}", markup=False, highlight=False)
    console.print(f"{path}: {', '.join(file.name for file in files)}", markup=False, highlight=False)
    return files


def title(pivot: Pivot, metric: str) -> str:
    """Return the caption that explains the numbers of a table."""
    parts = [f"final {readable(metric)}" + (" in %" if is_accuracy(metric) else "")]
    counts = sorted({len(cell.runs) for cell in pivot.cells.values() if cell.runs})
    if counts and counts[-1] > 1:
        number = f"{counts[-1]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts.append(f"mean ± sample standard deviation over {number} {_repetitions(pivot)}")
    if remark := different_lengths(pivot.groups):
        parts.append(remark)
    if pivot.has_published:
        parts.append("in parentheses: published, at full budget")
    return "; ".join(parts)


def _repetitions(pivot: Pivot) -> str:
    """Return what the runs of a cell are: seeds, unless they also differ in other keys, such as rounds."""
    keys = sorted({key for cell in pivot.cells.values() for key in telling_keys(cell.runs)})
    return "seeds" if keys in ([], [SEED_KEY]) else f"runs, which differ in {', '.join(keys)}"


def _markdown_page(pivots: dict[str, Pivot], loaded: Loaded, header: list[str], rows: Rows) -> str:
    parts = []
    for metric, pivot in pivots.items():
        parts += [f"{title(pivot, metric)}:", as_markdown(*pivot.table(metric))]
    return "\n\n".join([*parts, "Every run:", as_markdown(header, rows)]) + "\n"


def _latex_file(pivots: dict[str, Pivot]) -> str:
    parts = (
        f"% {title(pivot, metric)}\n{as_latex(*pivot.table(metric))}" for metric, pivot in pivots.items()
    )
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(parts) + "\n"
