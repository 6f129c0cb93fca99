"""Feature degeneration: mean and relative variance by feature dimension (FedLoGe, ICLR 2024).

``python -m analysis feature-degeneration RUN_DIR [--class N] [--round N]`` draws it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.command import draw_command
from analysis.plots._features import OWN_HEAD, read_features
from analysis.style import PALETTE, TEXT_SIZE, label_axes, new_figure, save
from common.errors import UserError

# Relative variances of dimensions that are almost always zero would flatten all others.
_HIGHEST_QUANTILE = 0.98


def plot(run_dir: Path, label: int = -1, server_round: int | None = None) -> Path:
    """Draw mean and relative variance of every dimension of a class's features, the largest mean first.

    Dimensions in which the class's row of the model's head is zero, as in SSE-C, are shaded; the title gives
    the number of them in the half with the largest means. With a head that leads to degeneration, few
    dimensions have large means, and those with small means have the largest relative variance.

    Parameters
    ----------
    run_dir : pathlib.Path
        A run directory.
    label : int
        The class; -1: the last, which is the rarest in a long tail.
    server_round : int, optional
        A recorded round; by default the last.

    Returns
    -------
    pathlib.Path
        The picture, ``plots/feature_degeneration.png``.

    Raises
    ------
    UserError
        If the run has recorded no features of that round, or has no such class.
    """
    features = read_features(run_dir, server_round)
    num_classes, size = features.means.shape
    if not -num_classes <= label < num_classes:
        raise UserError(f"--class must be from 0 to {num_classes - 1}, not {label}")
    label %= num_classes
    means, ratios = features.means[label], features.relative_variances[label]
    order = np.argsort(-means, kind="stable")
    zero = features.heads[OWN_HEAD][label][order] == 0
    figure = new_figure(10, 4)
    axes = figure.subplots()
    right = axes.twinx()
    if zero.any():
        right.fill_between(
            range(size), 0, 1, where=zero, step="mid", transform=right.get_xaxis_transform(),
            color="0.88", linewidth=0,
        )  # fmt: skip
        axes.fill_between([], [], color="0.88", label="weight of the head is zero")
    finite = ratios[np.isfinite(ratios)]
    highest = float(np.quantile(finite, _HIGHEST_QUANTILE)) if len(finite) else 1.0
    right.scatter(range(size), np.minimum(ratios[order], highest), s=6, color=PALETTE[1], alpha=0.7)
    axes.plot(range(size), means[order], color=PALETTE[0], label="mean")
    axes.plot([], [], ".", color=PALETTE[1], label="variance / mean²")
    title = f"class {label}, round {features.server_round}"
    if zero.any():
        title += f": {int(zero[: size // 2].sum())} of {int(zero.sum())} zero weights in the first half"
    label_axes(axes, "dimension, by mean", "mean", title)
    right.set_ylabel("variance / mean²", fontsize=TEXT_SIZE)
    right.tick_params(labelsize=TEXT_SIZE - 1)
    right.spines["top"].set_visible(False)
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend(fontsize=TEXT_SIZE - 1, frameon=True, loc="upper right")
    return save(figure, run_dir / "plots" / "feature_degeneration.png")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--class", dest="label", metavar="N", type=int, default=-1, help="class (default: the last)"
    )
    parser.add_argument("--round", metavar="N", type=int, help="a recorded round (default: the last)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture of a run and return the exit code."""
    return draw_command(
        "feature-degeneration",
        "Draw mean and relative variance of each dimension of a class's features.",
        lambda run_dir, options: plot(run_dir, options.label, options.round),
        arguments,
        _add_options,
    )


if __name__ == "__main__":
    sys.exit(main())
