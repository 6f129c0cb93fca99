"""Compare runs: ``python -m analysis.compare RUN_DIR [RUN_DIR ...]``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from analysis.comparison_plot import plot_comparison
from analysis.runs import SEED_KEY, Run, differing_keys, group_seeds, load_run, mean_and_deviation
from common.errors import UserError

Rows = list[list[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, draw the picture, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m analysis.compare", description="Compare finished runs.")
    parser.add_argument("run_dirs", metavar="RUN_DIR", nargs="+", type=Path, help="a run directory")
    parser.add_argument("--metric", default="test_accuracy", help="column of metrics.csv (%(default)s)")
    parser.add_argument("--out", metavar="FILE.png", type=Path, help="also draw the curves into this file")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args(arguments)
    try:
        runs = [load_run(run_dir, options.metric) for run_dir in options.run_dirs]
        _print_tables(runs, options.metric, options.markdown)
        if options.out:
            print(f"curves: {plot_comparison(runs, options.out)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run_table(runs: Sequence[Run], metric: str) -> tuple[list[str], Rows]:
    """Return header and rows of a table with one row per run."""
    keys = differing_keys(runs)
    header = ["run", *keys, f"final {metric}", f"best {metric}", "rounds", "seconds"]
    rows = [
        [
            run.path.resolve().name,
            *_values(run, keys),
            f"{run.final:.4f}",
            f"{run.best:.4f}",
            str(run.rounds),
            f"{run.seconds:.1f}",
        ]
        for run in runs
    ]
    return header, rows


def seed_table(runs: Sequence[Run], metric: str) -> tuple[list[str], Rows]:
    """Return header and rows of a table with one row per configuration: mean and deviation over the seeds."""
    keys = [key for key in differing_keys(runs) if key != SEED_KEY]
    header = [*keys, "seeds", f"final {metric}", f"best {metric}", "rounds", "seconds"]
    rows = [
        [
            *_values(group[0], keys),
            str(len(group)),
            _mean_text([run.final for run in group], 4),
            _mean_text([run.best for run in group], 4),
            str(group[0].rounds),
            _mean_text([run.seconds for run in group], 1),
        ]
        for group in group_seeds(runs)
    ]
    return header, rows


def markdown(header: Sequence[str], rows: Rows) -> str:
    """Return a table as Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _print_tables(runs: Sequence[Run], metric: str, as_markdown: bool) -> None:
    tables = [run_table(runs, metric)]
    if len(group_seeds(runs)) < len(runs):
        tables.append(seed_table(runs, metric))
    for header, rows in tables:
        if as_markdown:
            print(markdown(header, rows), end="\n\n")
        else:
            table = Table(*header)
            for row in rows:
                table.add_row(*row)
            Console().print(table)


def _values(run: Run, keys: Sequence[str]) -> list[str]:
    return [str(run.config.get(key, "-")) for key in keys]


def _mean_text(values: Sequence[float], digits: int) -> str:
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
