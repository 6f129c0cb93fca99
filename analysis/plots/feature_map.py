"""The class means of features in a plane: principal components or t-SNE."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from analysis.command import draw_command
from analysis.plots._features import Array, read_features
from analysis.style import PALETTE, TEXT_SIZE, label_axes, new_figure, save
from common.errors import UserError

Method = Literal["pca", "tsne"]


def standardized(means: Array) -> Array:
    """Return vectors scaled to mean 0 and standard deviation 1 in each dimension; constant ones become 0."""
    spread = means.std(axis=0)
    values: Array = (means - means.mean(axis=0)) / np.where(spread == 0, 1, spread)
    return values


def principal_components(vectors: Array) -> tuple[Array, Array]:
    """Return the first two principal components of vectors, (rows, 2), and their shares of the variance.

    The sign of a component is chosen so that its largest coordinate in magnitude is positive.
    """
    centred = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(vectors), 2))
    shares = np.zeros(2)
    kept = min(2, len(sizes))
    places[:, :kept] = left[:, :kept] * sizes[:kept]
    largest = places[np.abs(places).argmax(axis=0), range(2)]
    total = float(np.sum(sizes**2))
    if total > 0:
        shares[:kept] = sizes[:kept] ** 2 / total
    return places * np.where(largest < 0, -1, 1), shares


def neighbour_map(vectors: Array) -> Array:
    """Return t-SNE of standardised vectors, (rows, 2), with rate 200 and seed 42 as in FedLoGe's code.

    Raises
    ------
    UserError
        If there are too few of them.
    """
    # Imported here: it takes seconds, and most pictures do not need it.
    from sklearn.manifold import TSNE

    if len(vectors) < 3:
        raise UserError(f"t-SNE needs at least 3 classes, and there are {len(vectors)}: use --method pca")
    perplexity = min(30.0, (len(vectors) - 1) / 2)
    model = TSNE(learning_rate=200, random_state=42, perplexity=perplexity)
    places: Array = model.fit_transform(standardized(vectors)).astype(np.float64)
    return places


def plot(run_dir: Path, method: Method = "pca", server_round: int | None = None) -> Path:
    """Draw the map of a round, by default the last recorded one, and return the picture's path."""
    features = read_features(run_dir, server_round)
    names = ["t-SNE 1", "t-SNE 2"]
    if method == "tsne":
        places = neighbour_map(features.means)
    else:
        places, shares = principal_components(standardized(features.means))
        names = [f"component {axis + 1} ({share:.0%} of the variance)" for axis, share in enumerate(shares)]
    figure = new_figure(6, 6)
    axes = figure.subplots()
    axes.scatter(places[:, 0], places[:, 1], color=PALETTE[0])
    for label, (x, y) in enumerate(places):
        axes.annotate(str(label), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=TEXT_SIZE)
    label_axes(axes, names[0], names[1], f"means of the classes' features, round {features.server_round}")
    return save(figure, run_dir / "plots" / "feature_map.png")


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method", choices=("pca", "tsne"), default="pca", help="projection to the plane (default: pca)"
    )
    parser.add_argument("--round", type=int, metavar="N", help="a recorded round (default: the last)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture of a run and return the exit code."""
    return draw_command(
        "feature-map",
        "Draw the class means of features in a plane.",
        lambda run_dir, options: plot(run_dir, options.method, options.round),
        arguments,
        _add_options,
    )


if __name__ == "__main__":
    sys.exit(main())
