"""Compare runs that differ in participation: sampling distributions, counts and curves side by side."""

import dataclasses
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.command import add_picture, add_runs, add_table, check_files, command, for_each
from analysis.comparison.comparison_plot import plot_comparison
from analysis.comparison.frequencies import plot_frequencies
from analysis.comparison.groups import distinct_names, warn_of_data
from analysis.comparison.lengths import different_lengths
from analysis.legend import Legend, line_look
from analysis.plots.participation import effective_number, gini, num_seen, participation_counts
from analysis.reading.run_directory import NoDataError, read_participation
from analysis.reading.runs import (
    SEED_KEY,
    Run,
    default_metric,
    differing_keys,
    is_accuracy,
    load_run,
    mean_and_deviation,
    unit,
)
from analysis.reading.selection import chosen_runs
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save
from analysis.tables import print_table, write_table
from common.command_line import Parser
from common.number_text import fixed

# Probabilities of a very skewed distribution reach down to 1e-70; smaller ones than this are not shown.
SMALLEST_PROBABILITY = 1e-6
_SHORT_KEY = "participation"
_WIDTH = 11  # inches


def compare_participation(
    run_dirs: Sequence[Path], metric: str, out: Path | None, file: Path | None
) -> list[Path]:
    """Print a table of the runs and, with `out`, draw the pictures; return their paths.

    The pictures of the metric against gamma, and against how unevenly clients were sampled, are left out if
    the runs differ in more than participation and seed. With several runs, those that are not finished, lack
    the metric or have a damaged file are skipped with a warning.

    Raises
    ------
    UserError
        If no run remains.
    """
    runs: list[Run] = []

    def load(run_dir: Path) -> None:
        run = load_run(run_dir, metric)
        participation_table([run], metric)  # here, so that a damaged file excludes only its run
        runs.append(run)

    for_each(run_dirs, load)
    warn_of_data([("", runs)], run_dirs)
    names = distinct_names([run.path for run in runs])
    if remark := different_lengths([(name, [run]) for name, run in zip(names, runs, strict=True)]):
        warnings.warn(f"the final values are {remark}", stacklevel=2)
    header, rows = participation_table(runs, metric)
    print_table(header, rows)
    if file:
        print(write_table(file, header, rows))
    if out is None:
        return []
    short = [_with_short_config(run) for run in _by_gamma(runs)]
    pictures = [
        plot_distributions(runs, out),
        plot_comparison(short, out.with_name(f"{out.stem}-curves{out.suffix}")),
    ]
    if set(differing_keys(short)) <= {SEED_KEY, _SHORT_KEY}:  # nothing else could explain the metric
        if len(schemes := by_scheme(runs)) > 1:
            file = out.with_name(f"{out.stem}-frequencies{out.suffix}")
            pictures.append(plot_frequencies(schemes, metric, file))
        if len({run.config["participation.gamma"] for run in runs if _is_skewed(run)}) > 1:
            pictures.append(plot_against_gamma(runs, metric, out.with_name(f"{out.stem}-gamma{out.suffix}")))
    for picture in pictures:
        print(picture)
    return pictures


def participation_table(runs: Sequence[Run], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table with one row per run."""
    header = [
        "run", "participation", "effective clients", "realised", "seen", "most rounds", "Gini",
        f"final {metric}",
    ]  # fmt: skip
    rows = []
    ordered = _by_gamma(runs)
    for run, name in zip(ordered, distinct_names([run.path for run in ordered]), strict=True):
        counts = participation_counts(run.path)
        p = _probabilities(run)
        rows.append(
            [
                name,
                scheme_label(run),
                "-" if p is None else f"{effective_number(p):.1f}",
                f"{effective_number(counts):.1f}",
                f"{num_seen(counts)} of {len(counts)}",
                str(counts.max()),
                f"{gini(counts):.3f}",
                fixed(run.final, 4),
            ]
        )
    return header, rows


def scheme_label(run: Run) -> str:
    """Return the participation scheme of a run and its parameters as text."""
    name = str(run.config.get("participation.name", "-"))
    parameters = {
        key.removeprefix("participation."): value
        for key, value in run.config.items()
        if key.startswith("participation.") and value != "none"
    }
    parameters.pop("name", None)
    if not _is_skewed(run):
        parameters.pop("gamma", None)  # every configuration has one
        return ", ".join([name, *(f"{key} {value}" for key, value in parameters.items())])
    return ", ".join(
        f"{key} {value:g}" if key == "gamma" else str(value) for key, value in parameters.items()
    )


def by_scheme(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return label of a scheme → its runs, the skewed ones first, by gamma."""
    groups: dict[str, list[Run]] = {}
    for run in _by_gamma(runs):
        groups.setdefault(scheme_label(run), []).append(run)
    return groups


def plot_distributions(runs: Sequence[Run], path: Path) -> Path:
    """Draw the sorted sampling probabilities of runs, and next to them the sorted shares of participations.

    Parameters
    ----------
    runs : sequence of Run
        Runs; the seeds of a scheme share a colour.
    path : pathlib.Path
        The PNG file to write.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    UserError
        If no run has a ``participation.csv``.
    """
    if all(_probabilities(run) is None for run in runs):
        raise NoDataError("none of these runs has a participation.csv")
    groups = by_scheme(runs)
    legend = Legend([_describe(label, group) for label, group in groups.items()], _WIDTH)
    looks = [legend.look(number, {**line_look(number), "linewidth": 1.6}) for number in range(len(groups))]
    figure = new_figure(_WIDTH, 4 + legend.height)
    left, right = figure.subplots(1, 2)
    for group, look in zip(groups.values(), looks, strict=True):
        for run in group:
            p = _probabilities(run)
            if p is not None:
                shown = np.maximum(np.sort(p)[::-1], SMALLEST_PROBABILITY)
                left.step(np.arange(1, len(p) + 1), shown, where="mid", **look)
            counts = participation_counts(run.path)
            shares = np.sort(counts)[::-1] / counts.sum()
            right.step(np.arange(1, len(shares) + 1), shares, where="mid", **look)
    left.set_yscale("log")
    left.set_ylim(bottom=SMALLEST_PROBABILITY)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        integer_ticks(axes.xaxis)
    legend.draw(figure, looks)
    label_axes(left, "clients, by sampling probability", "sampling probability")
    label_axes(right, "clients, by number of rounds", "share of all participations")
    return save(figure, path)


def _describe(label: str, group: Sequence[Run]) -> str:
    """Return the legend entry; several seeds are averaged."""
    distributions = [p for run in group if (p := _probabilities(run)) is not None]
    counts = [participation_counts(run.path) for run in group]
    parts = [
        f"effective number {np.mean([effective_number(p) for p in distributions]):.1f}"
        if distributions
        else "",
        f"{np.mean([num_seen(c) for c in counts]):.0f} seen, Gini {np.mean([gini(c) for c in counts]):.2f}",
    ]
    return ", ".join([label, *(part for part in parts if part)])


def plot_against_gamma(runs: Sequence[Run], metric: str, path: Path) -> Path:
    """Plot the final metric against gamma; a scheme without gamma is a horizontal line.

    Points are means over seeds, with bars of one sample standard deviation.
    """
    scale = 100 if is_accuracy(metric) else 1
    finals = pd.DataFrame(
        {
            "label": "skewed" if _is_skewed(run) else scheme_label(run),
            "corrected": run.config.get("participation.correction", "none"),
            "gamma": run.config["participation.gamma"] if _is_skewed(run) else 0.0,
            "final": run.final * scale,
        }
        for run in runs
    )
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for index, ((label, corrected), group) in enumerate(finals.groupby(["label", "corrected"])):
        points = [(gamma, *mean_and_deviation(of_gamma["final"].tolist()))
                  for gamma, of_gamma in group.groupby("gamma")]  # fmt: skip
        gammas, means, deviations = (np.array(values, dtype=float) for values in zip(*points, strict=True))
        colour = PALETTE[index % len(PALETTE)]
        if label == "skewed":
            name = label if corrected == "none" else f"{label}, {corrected}"
            axes.errorbar(
                gammas, means, np.nan_to_num(deviations), color=colour, marker="o", capsize=3, label=name
            )
        else:
            axes.axhline(means[0], color=colour, linestyle="--", label=label)
    axes.set_xscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=TEXT_SIZE - 1, frameon=False)
    label_axes(axes, "gamma (small: skewed)", f"final {unit(metric)}")
    return save(figure, path)


def _by_gamma(runs: Sequence[Run]) -> list[Run]:
    """Return the skewed runs first, by gamma."""
    return sorted(runs, key=lambda run: (not _is_skewed(run), run.config.get("participation.gamma", 0.0)))


def _with_short_config(run: Run) -> Run:
    """Return a run with its participation condensed into one key, as legends show it."""
    config = {key: value for key, value in run.config.items() if not key.startswith("participation.")}
    return dataclasses.replace(run, config={**config, _SHORT_KEY: scheme_label(run)})


def _is_skewed(run: Run) -> bool:
    return run.config.get("participation.name") == "skewed"


def _probabilities(run: Run) -> np.ndarray | None:
    try:
        return read_participation(run.path)["probability"].to_numpy()
    except NoDataError:
        return None


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the participation of runs."""
    parser = Parser(
        prog="python -m analysis participation",
        description="Compare how runs sampled their cohorts, and the outcome.",
    )
    add_runs(parser)
    parser.add_argument("--metric", help="column of metrics.csv (default: the most informative)")
    add_picture(
        parser,
        "draw the sampling distributions into this file and the curves into FILE-curves; with several"
        " schemes, also the final metric against how unevenly clients were sampled (FILE-frequencies), and"
        " with several gammas against gamma (FILE-gamma)",
    )
    add_table(parser)
    options = parser.parse_args(arguments)
    check_files(options)
    run_dirs = chosen_runs(options.directories)
    metric = options.metric or default_metric(run_dirs)
    compare_participation(run_dirs, metric, options.out, options.table)


if __name__ == "__main__":
    sys.exit(main())
