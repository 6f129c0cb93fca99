"""Test accuracy by class of every head of a run (FedLoGe, ICLR 2024).

``python -m analysis head-accuracy RUN_DIR [--round N]`` draws it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.command import draw_command
from analysis.plots._features import class_counts
from analysis.reading.run_directory import read_heads
from analysis.style import PALETTE, TEXT_SIZE, label_axes, new_figure, save
from common.errors import UserError

# Of the realigned heads, only the one that the method predicts with is drawn.
_LEFT_OUT = ("realigned_unit_norm", "realigned_without_bias")


def class_accuracies(run_dir: Path, server_round: int | None = None) -> tuple[int, pd.DataFrame]:
    """Return the round, by default the last recorded one, and its accuracies.

    Returns
    -------
    tuple[int, pandas.DataFrame]
        The round; a row per class, a column per head.

    Raises
    ------
    UserError
        If the run has recorded no accuracies by class, or none of that round.
    """
    classes = read_heads(run_dir)
    chosen = int(classes["round"].max()) if server_round is None else server_round
    rows = classes[(classes["round"] == chosen) & ~classes["head"].isin(_LEFT_OUT)]
    if rows.empty:
        known = ", ".join(map(str, sorted(set(classes["round"]))))
        raise UserError(f"{run_dir} has no accuracies by class of round {chosen}, but of {known}")
    table = rows.pivot_table(index="class", columns="head", values="accuracy")
    return chosen, table[list(dict.fromkeys(rows["head"]))]


def plot(run_dir: Path, server_round: int | None = None) -> Path:
    """Draw a bar per class and head, classes by descending training samples, and the numbers of samples.

    Returns
    -------
    pathlib.Path
        The picture, ``plots/head_accuracy.png``.

    Raises
    ------
    UserError
        As ``class_accuracies``.
    """
    chosen, table = class_accuracies(run_dir, server_round)
    counts = class_counts(run_dir)
    order = np.argsort(-counts, kind="stable")
    figure = new_figure(min(24, max(8, 0.5 * len(order))), 4)
    axes = figure.subplots()
    positions, width = np.arange(len(order)), 0.8 / table.shape[1]
    for index, head in enumerate(table):
        left = positions + (index - (table.shape[1] - 1) / 2) * width
        name = "the model's head" if head == "classifier" else str(head).replace("_", " ")
        axes.bar(left, 100 * table[head].to_numpy()[order], width, color=PALETTE[index], label=name)
    axes.set_ylim(0, 100)
    if len(order) <= 30:
        axes.set_xticks(positions, [str(label) for label in order])
    label_axes(axes, "class, by number of training samples", "test accuracy (%)", f"round {chosen}")
    right = axes.twinx()
    right.plot(positions, counts[order], color="black", linestyle=":", label="training samples")
    right.set_ylim(bottom=0)
    right.set_ylabel("training samples", fontsize=TEXT_SIZE)
    right.tick_params(labelsize=TEXT_SIZE - 1)
    right.spines["top"].set_visible(False)
    figure.legend(loc="outside right upper", fontsize=TEXT_SIZE - 1, frameon=False)
    return save(figure, run_dir / "plots" / "head_accuracy.png")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--round", metavar="N", type=int, help="a recorded round (default: the last)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture of a run and return the exit code."""
    return draw_command(
        "head-accuracy",
        "Draw the test accuracy by class of every head of a run.",
        lambda run_dir, options: plot(run_dir, options.round),
        arguments,
        _add_options,
    )


if __name__ == "__main__":
    sys.exit(main())
