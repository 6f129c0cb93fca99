"""Runs that differ in who takes part: their sampling distributions, counts and curves side by side."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from analysis.command import command
from analysis.comparison.comparison_plot import plot_comparison
from analysis.plots.participation import effective_number, gini, num_seen, participation_counts
from analysis.reading.run_directory import NoDataError, read_participation
from analysis.reading.runs import SEED_KEY, Run, default_metric, differing_keys, load_run, mean_and_deviation
from analysis.style import PALETTE, TEXT_SIZE, label_axes, new_figure, save
from common.command_line import Parser, make_console

# Probabilities of a very skewed distribution reach down to 1e-70: below this all are nothing.
SMALLEST_PROBABILITY = 1e-6
_SHORT_KEY = "participation"


def compare_participation(run_dirs: Sequence[Path], metric: str, out: Path | None) -> list[Path]:
    """Print a table of the runs and, with `out`, draw the pictures; return these.

    The picture of the metric against gamma is left out if the runs differ in more than participation and
    seed.

    Raises
    ------
    UserError
        If a run has not ended, or has no such metric.
    """
    runs = [load_run(run_dir, metric) for run_dir in run_dirs]
    header, rows = participation_table(runs, metric)
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    make_console().print(table)
    if out is None:
        return []
    short = [_with_short_config(run) for run in _by_gamma(runs)]
    pictures = [
        plot_distributions(runs, out),
        plot_comparison(short, out.with_name(f"{out.stem}-curves{out.suffix}")),
    ]
    num_gammas = len({run.config["participation.gamma"] for run in runs if _is_skewed(run)})
    if num_gammas > 1 and set(differing_keys(short)) <= {SEED_KEY, _SHORT_KEY}:
        pictures.append(plot_against_gamma(runs, metric, out.with_name(f"{out.stem}-gamma{out.suffix}")))
    for picture in pictures:
        print(picture)
    return pictures


def participation_table(runs: Sequence[Run], metric: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table with one row per run."""
    header = [
        "run", "participation", "effective clients", "realised", "seen", "Gini", f"final {metric}",
    ]  # fmt: skip
    rows = []
    for run in _by_gamma(runs):
        counts = participation_counts(run.path)
        p = _probabilities(run)
        rows.append(
            [
                run.path.resolve().name,
                scheme_label(run),
                "-" if p is None else f"{effective_number(p):.1f}",
                f"{effective_number(counts):.1f}",
                f"{num_seen(counts)} of {len(counts)}",
                f"{gini(counts):.3f}",
                f"{run.final:.4f}",
            ]
        )
    return header, rows


def scheme_label(run: Run) -> str:
    """Return the participation scheme of a run with its parameters in words."""
    name = str(run.config.get("participation.name", "-"))
    parameters = {
        key.removeprefix("participation."): value
        for key, value in run.config.items()
        if key.startswith("participation.") and value != "none"
    }
    parameters.pop("name", None)
    if not _is_skewed(run):
        parameters.pop("gamma", None)  # is in every configuration
        return ", ".join([name, *(f"{key} {value}" for key, value in parameters.items())])
    return ", ".join(
        f"{key} {value:g}" if key == "gamma" else str(value) for key, value in parameters.items()
    )


def plot_distributions(runs: Sequence[Run], path: Path) -> Path:
    """Draw the sorted sampling probabilities of runs, and next to them the sorted shares of the rounds.

    Parameters
    ----------
    runs : sequence of Run
        Runs; seeds of one scheme have one colour.
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
    groups: dict[str, list[Run]] = {}
    for run in _by_gamma(runs):
        groups.setdefault(scheme_label(run), []).append(run)
    figure = new_figure(13, 4.5)
    left, right = figure.subplots(1, 2)
    for index, (label, group) in enumerate(groups.items()):
        look: dict[str, Any] = {
            "color": PALETTE[index % len(PALETTE)],
            "linestyle": "-" if _is_skewed(group[0]) else "--",
            "linewidth": 1.6,
            "where": "mid",
        }
        for run in group:
            p = _probabilities(run)
            if p is not None:
                left.step(
                    np.arange(1, len(p) + 1), np.maximum(np.sort(p)[::-1], SMALLEST_PROBABILITY), **look
                )
            counts = participation_counts(run.path)
            shares = np.sort(counts)[::-1] / counts.sum()
            text = _describe(label, group) if run is group[0] else None
            right.step(np.arange(1, len(shares) + 1), shares, label=text, **look)
    left.set_yscale("log")
    left.set_ylim(bottom=SMALLEST_PROBABILITY)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=TEXT_SIZE - 1, frameon=False)
    label_axes(left, "clients, by sampling probability", "sampling probability")
    label_axes(right, "clients, by number of rounds", "share of all participations")
    return save(figure, path)


def _describe(label: str, group: Sequence[Run]) -> str:
    """Return a line of the legend; several seeds are averaged."""
    distributions = [p for run in group if (p := _probabilities(run)) is not None]
    counts = [participation_counts(run.path) for run in group]
    parts = [
        f"effective number {np.mean([effective_number(p) for p in distributions]):.1f}"
        if distributions
        else "",
        f"{np.mean([num_seen(c) for c in counts]):.0f} seen, Gini {np.mean([gini(c) for c in counts]):.2f}",
    ]
    return f"{label}\n" + "\n".join(part for part in parts if part)


def plot_against_gamma(runs: Sequence[Run], metric: str, path: Path) -> Path:
    """Draw the final metric against gamma; what is not skewed becomes a horizontal line.

    Seeds are joined to their mean, with bars of one sample deviation.
    """
    scale, unit = (100, " (%)") if metric.endswith("accuracy") else (1, "")
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
    label_axes(axes, "gamma (small: skewed)", f"final {metric.replace('_', ' ')}{unit}")
    return save(figure, path)


def _by_gamma(runs: Sequence[Run]) -> list[Run]:
    """Return the skewed runs first, by gamma."""
    return sorted(runs, key=lambda run: (not _is_skewed(run), run.config.get("participation.gamma", 0.0)))


def _with_short_config(run: Run) -> Run:
    """Return a run with its participation in one key: what legends are to say of it."""
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
        description="Compare from what runs drew their cohorts, and what came of it.",
    )
    parser.add_argument("run_dirs", metavar="RUN_DIR", nargs="+", type=Path, help="a run directory")
    parser.add_argument("--metric", help="column of metrics.csv (test_accuracy)")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="draw the sampling distributions into this file, the curves into FILE-curves.png and, with"
        " several gammas, the final metric against gamma into FILE-gamma.png",
    )
    options = parser.parse_args(arguments)
    metric = options.metric or default_metric(options.run_dirs)
    compare_participation(options.run_dirs, metric, options.out)


if __name__ == "__main__":
    sys.exit(main())
