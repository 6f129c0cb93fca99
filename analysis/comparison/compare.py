"""Compare runs, or lay out a sweep as a table: ``python -m analysis compare DIR [DIR ...]``."""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.command import add_picture, add_runs, add_table, check_files, command, for_each
from analysis.comparison.comparison_plot import plot_comparison
from analysis.comparison.groups import distinct_names, published_numbers, warn_of_data
from analysis.comparison.pivot import Pivot, against, pivot_by_keys
from analysis.comparison.sweep_plot import plot_sweep
from analysis.comparison.sweep_report import title
from analysis.comparison.sweep_table import axes_pivot, load_finished, run_rows, shown_metrics
from analysis.reading.runs import (
    HOW_MEASURED,
    SEED_KEY,
    Run,
    default_metrics,
    group_seeds,
    is_accuracy,
    load_run,
    mean_and_deviation,
    mean_text,
    telling_keys,
    unit,
    without_repeats,
)
from analysis.reading.selection import chosen, chosen_runs
from analysis.reading.sweep import Sweep, is_sweep, read_sweep
from analysis.tables import as_markdown, print_table, write_table
from common.command_line import Parser

Rows = list[list[str]]

_ROUNDS = "rounds"  # a separate column: the number of rounds of a run


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables and draw the picture."""
    parser = Parser(prog="python -m analysis compare", description="Compare finished runs.")
    add_runs(parser)
    parser.add_argument(
        "--metric", help="column of metrics.csv (default: the sweep's or the most informative)"
    )
    parser.add_argument("--rows", metavar="NAME[,NAME]", help="axes or configuration keys for the rows")
    parser.add_argument("--columns", metavar="NAME[,NAME]", help="axes or keys for the columns")
    add_picture(parser, "also draw the curves, into this file")
    add_table(parser)
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args(arguments)
    check_files(options)
    options.directories = chosen(options.directories)
    if len(options.directories) == 1 and is_sweep(options.directories[0]):
        _compare_sweep(read_sweep(options.directories[0]), options)
    else:
        _compare_runs(options)


def _compare_sweep(sweep: Sweep, options: argparse.Namespace) -> None:
    """Lay out a sweep by its axes; by configuration keys if rows or columns name one."""
    rows, columns = _names(options.rows), _names(options.columns)
    if any(name not in sweep.axes for name in (*(rows or ()), *(columns or ()))):
        _compare_runs(options)
        return
    loaded = load_finished(sweep, [options.metric] if options.metric else shown_metrics(sweep))
    pivots = {
        metric: axes_pivot(sweep, runs, metric, rows, columns).finished() for metric, runs in loaded.items()
    }
    for number, (metric, pivot) in enumerate(pivots.items()):
        suffix = f"-{metric.partition('|')[0]}" if number else ""
        _show_pivot(pivot, metric, options, suffix)
        if options.out:
            print(f"curves: {plot_sweep(pivot, metric, _with_suffix(options.out, suffix))}")
    if options.markdown:  # too wide for a terminal; also in table.csv
        _show(*run_rows(sweep, loaded), options, "-runs")


def _compare_runs(options: argparse.Namespace) -> None:
    """Compare runs by the configuration keys in which they differ; of a sweep, the finished runs only."""
    metric, *others = [options.metric] if options.metric else default_metrics(options.directories)
    runs: list[Run] = []
    for_each(chosen_runs(options.directories), lambda path: runs.append(load_run(path, metric)))
    runs = without_repeats(runs)
    warn_of_data([("", runs)], options.directories)
    rows, columns = _names(options.rows), _names(options.columns)
    if rows or columns:
        _show_pivot(pivot_by_keys(runs, rows or [], columns or []), metric, options)
    else:
        _show_tables(runs, metric, options)
    for other in others:
        print(f"some of the runs also have {other}: --metric '{other}' ({HOW_MEASURED})")
    if options.out:
        print(f"curves: {plot_comparison(runs, options.out)}")


def _names(text: str | None) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def _kinds(runs: Sequence[Run], metric: str) -> dict[str, str]:
    """Return attribute → heading of the results in the tables; no mean of the last ten if no run has ten."""
    kinds = {"final": "final", "last_ten": "last ten", "best": "best"}
    if all(math.isnan(run.last_ten) for run in runs):
        del kinds["last_ten"]
    return {name: f"{kind} {unit(metric)}" for name, kind in kinds.items()}


def _results(runs: Sequence[Run], kinds: Iterable[str], metric: str) -> list[str]:
    """Return means over runs; accuracies in per cent."""
    scale, digits = (100, 2) if is_accuracy(metric) else (1, 4)
    return [mean_text([scale * getattr(run, kind) for run in runs], digits) for kind in kinds]


def run_table(runs: Sequence[Run], metric: str) -> tuple[list[str], Rows]:
    """Return header and rows of a table with one row per run."""
    keys = [key for key in telling_keys(runs) if key != _ROUNDS]
    kinds = _kinds(runs, metric)
    header = [
        "run",
        *keys,
        *kinds.values(),
        _ROUNDS,
        "seconds",
    ]
    rows = [
        [
            name,
            *_values(run, keys),
            *_results([run], kinds, metric),
            str(run.rounds),
            f"{run.seconds:.1f}",
        ]
        for run, name in zip(runs, distinct_names([run.path for run in runs]), strict=True)
    ]
    return header, rows


def _range(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return str(most) if least == most else f"{least} to {most}"


def seed_table(runs: Sequence[Run], metric: str) -> tuple[list[str], Rows]:
    """Return header and rows of a table with one row per configuration: mean and deviation over the seeds."""
    keys = [key for key in telling_keys(runs) if key not in (SEED_KEY, _ROUNDS)]
    kinds = _kinds(runs, metric)
    header = [
        *keys,
        "seeds",
        *kinds.values(),
        _ROUNDS,
        "seconds",
    ]
    rows = [
        [
            *_values(group[0], keys),
            str(len(group)),
            *_results(group, kinds, metric),
            _range([run.rounds for run in group]),
            mean_text([run.seconds for run in group], 1),
        ]
        for group in group_seeds(runs)
    ]
    return header, rows


def _with_published(runs: Sequence[Run], metric: str, table: tuple[list[str], Rows]) -> None:
    """Add the published numbers, and our differences from them, to a table of seeds."""
    header, rows = table
    groups = [(str(number), group) for number, group in enumerate(group_seeds(runs))]
    if published := published_numbers(groups):
        scale, digits = (100, 2) if is_accuracy(metric) else (1, 4)
        percent = " (%)" if is_accuracy(metric) else ""
        header += [f"published{percent}", f"difference{percent}"]
        for row, (name, group) in zip(rows, groups, strict=True):
            final = scale * mean_and_deviation([run.final for run in group])[0]
            row += against(published.get(name), final, digits)


def _show_tables(runs: Sequence[Run], metric: str, options: argparse.Namespace) -> None:
    _show(*run_table(runs, metric), options)
    by_seed = seed_table(runs, metric)
    num_columns = len(by_seed[0])
    _with_published(runs, metric, by_seed)
    if len(by_seed[1]) < len(runs) or len(by_seed[0]) > num_columns:
        _show(*by_seed, options, "-seeds")


def _show(header: list[str], rows: Rows, options: argparse.Namespace, suffix: str = "") -> None:
    if options.markdown:
        print(as_markdown(header, rows), end="\n\n")
    else:
        print_table(header, rows)
    if options.table:
        print(write_table(_with_suffix(options.table, suffix), header, rows))


def _show_pivot(pivot: Pivot, metric: str, options: argparse.Namespace, suffix: str = "") -> None:
    header, rows = pivot.table(metric)
    if options.markdown:
        print(f"{title(pivot, metric)}:\n\n{as_markdown(header, rows)}", end="\n\n")
    else:
        print_table(header, rows, title=title(pivot, metric))
    if options.table:
        print(write_table(_with_suffix(options.table, suffix), header, rows))


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_stem(f"{path.stem}{suffix}")


def _values(run: Run, keys: Sequence[str]) -> list[str]:
    return [str(run.config.get(key, "-")) for key in keys]


if __name__ == "__main__":
    sys.exit(main())
