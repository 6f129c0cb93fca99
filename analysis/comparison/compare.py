"""Compare runs, or arrange a sweep as a table: ``python -m analysis compare DIR [DIR ...]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from analysis.command import command
from analysis.comparison.comparison_plot import plot_comparison
from analysis.comparison.pivot import Pivot, pivot_by_keys
from analysis.comparison.sweep_plot import plot_sweep
from analysis.comparison.sweep_report import markdown, print_pivot, title
from analysis.comparison.sweep_table import axes_pivot, load_finished, run_rows
from analysis.reading.runs import (
    SEED_KEY,
    Run,
    default_metric,
    differing_keys,
    group_seeds,
    load_run,
    mean_and_deviation,
)
from analysis.reading.sweep import Sweep, is_sweep, read_sweep
from common.command_line import Parser, make_console
from common.errors import UserError

Rows = list[list[str]]

_KINDS = ("final", "last ten", "best")


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables and draw the picture."""
    parser = Parser(prog="python -m analysis compare", description="Compare finished runs.")
    parser.add_argument("directories", metavar="DIR", nargs="+", type=Path, help="run or sweep directory")
    parser.add_argument("--metric", help="column of metrics.csv (test_accuracy, or what the sweep says)")
    parser.add_argument("--rows", metavar="NAME[,NAME]", help="axes or configuration keys that make rows")
    parser.add_argument("--columns", metavar="NAME[,NAME]", help="axes or keys that make columns")
    parser.add_argument("--out", metavar="FILE", type=Path, help="also draw the curves into this file")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args(arguments)
    if len(options.directories) == 1 and is_sweep(options.directories[0]):
        _compare_sweep(read_sweep(options.directories[0]), options)
    else:
        _compare_runs(options)


def _compare_sweep(sweep: Sweep, options: argparse.Namespace) -> None:
    """Arrange a sweep by its axes; by configuration keys if rows or columns name one."""
    rows, columns = _names(options.rows), _names(options.columns)
    if any(name not in sweep.axes for name in (*(rows or ()), *(columns or ()))):
        _compare_runs(options)
        return
    loaded = load_finished(sweep, [options.metric] if options.metric else sweep.metrics)
    pivots = {
        metric: axes_pivot(sweep, runs, metric, rows, columns).finished() for metric, runs in loaded.items()
    }
    for number, (metric, pivot) in enumerate(pivots.items()):
        _print_pivot(pivot, metric, options.markdown)
        if options.out:
            out = (
                options.out
                if number == 0
                else options.out.with_stem(f"{options.out.stem}-{metric.partition('|')[0]}")
            )
            print(f"curves: {plot_sweep(pivot, metric, out)}")
    if options.markdown:  # too wide for a terminal; table.csv has it as well
        _print_table(*run_rows(sweep, loaded), True)


def _compare_runs(options: argparse.Namespace) -> None:
    """Compare runs by the configuration keys in which they differ; of a sweep, the finished ones."""
    metric = options.metric or default_metric(options.directories)
    runs = [load_run(path, metric) for path in _run_directories(options.directories)]
    rows, columns = _names(options.rows), _names(options.columns)
    if rows or columns:
        pivot = pivot_by_keys(runs, rows or [], columns or [])
        _print_pivot(pivot, metric, options.markdown)
    else:
        _print_tables(runs, metric, options.markdown)
    if options.out:
        print(f"curves: {plot_comparison(runs, options.out)}")


def _run_directories(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not is_sweep(path):
            found.append(path)
        elif finished := [run.path for run in read_sweep(path).finished]:
            found += finished
        else:
            raise UserError(f"{path}: no run has finished yet")
    return found


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def run_table(runs: Sequence[Run], metric: str) -> tuple[list[str], Rows]:
    """Return header and rows of a table with one row per run."""
    keys = differing_keys(runs)
    header = ["run", *keys, *(f"{kind} {metric}" for kind in _KINDS), "rounds", "seconds"]
    rows = [
        [
            run.path.resolve().name,
            *_values(run, keys),
            *(f"{value:.4f}" for value in (run.final, run.last_ten, run.best)),
            str(run.rounds),
            f"{run.seconds:.1f}",
        ]
        for run in runs
    ]
    return header, rows


def seed_table(runs: Sequence[Run], metric: str) -> tuple[list[str], Rows]:
    """Return header and rows of a table with one row per configuration: mean and deviation over the seeds."""
    keys = [key for key in differing_keys(runs) if key != SEED_KEY]
    header = [*keys, "seeds", *(f"{kind} {metric}" for kind in _KINDS), "rounds", "seconds"]
    rows = [
        [
            *_values(group[0], keys),
            str(len(group)),
            _mean_text([run.final for run in group], 4),
            _mean_text([run.last_ten for run in group], 4),
            _mean_text([run.best for run in group], 4),
            str(group[0].rounds),
            _mean_text([run.seconds for run in group], 1),
        ]
        for group in group_seeds(runs)
    ]
    return header, rows


def _print_tables(runs: Sequence[Run], metric: str, as_markdown: bool) -> None:
    tables = [run_table(runs, metric)]
    if len(group_seeds(runs)) < len(runs):
        tables.append(seed_table(runs, metric))
    for header, rows in tables:
        _print_table(header, rows, as_markdown)


def _print_table(header: Sequence[str], rows: Rows, as_markdown: bool) -> None:
    if as_markdown:
        print(markdown(header, rows), end="\n\n")
    else:
        table = Table(*header)
        for row in rows:
            table.add_row(*row)
        make_console().print(table)


def _print_pivot(pivot: Pivot, metric: str, as_markdown: bool) -> None:
    if as_markdown:
        print(f"{title(pivot, metric)}:\n\n{markdown(*pivot.table(metric))}", end="\n\n")
    else:
        print_pivot(pivot, metric, make_console())


def _values(run: Run, keys: Sequence[str]) -> list[str]:
    return [str(run.config.get(key, "-")) for key in keys]


def _mean_text(values: Sequence[float], digits: int) -> str:
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
