"""Similarity of clients' models, stage by stage (Chan et al., ICLR 2024, figures 1, 10 and 17).

``python -m analysis similarity RUN_DIR [RUN_DIR ...] [--out FILE.png]`` compares runs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from analysis.command import add_picture, add_runs, add_table, check_files, command, for_each
from analysis.reading.run_directory import NoDataError, read_metrics, read_similarities
from analysis.reading.selection import begun_runs
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save, short_names
from analysis.tables import print_table, write_table
from common.command_line import Parser
from common.errors import UserError

MAX_HEAT_MAPS = 6
# With more clients than this, their ids would overlap.
MAX_TICKS = 20


def layer_means(similarities: pd.DataFrame) -> pd.DataFrame:
    """Return the mean CKA over pairs of clients, a row per round and a column per layer in the model's order.

    Pairs with undefined CKA, because an output is constant, are left out.
    """
    means = similarities.groupby(["round", "layer"])["cka"].mean().unstack()
    return means[list(dict.fromkeys(similarities["layer"]))]


def similarity_matrix(similarities: pd.DataFrame, layer: str, server_round: int) -> pd.DataFrame:
    """Return the symmetric (clients, clients) matrix of a layer and round; its diagonal is 1."""
    table = similarities.query("layer == @layer and round == @server_round")
    clients = sorted({*table["client_a"], *table["client_b"]})
    position = {client: index for index, client in enumerate(clients)}
    values = np.eye(len(clients))
    a, b = table["client_a"].map(position), table["client_b"].map(position)
    values[a, b] = values[b, a] = table["cka"]
    return pd.DataFrame(values, index=clients, columns=clients)


def plot(run_dir: Path) -> Path:
    """Draw the similarity of the clients' models of a run.

    Above: the mean CKA over all pairs by layer for each recorded round, and against rounds with the accuracy
    of the server model. Below: the pairs of the last of these rounds, a heat map per layer; for deep models,
    only the last layers.
    """
    similarities = read_similarities(run_dir)
    means = layer_means(similarities)
    last = int(means.index[-1])
    layers = list(means.columns)[-MAX_HEAT_MAPS:]
    figure = new_figure(max(10, 2.6 * len(layers)), 7)
    above, below = np.ravel(figure.subfigures(2, 1, height_ratios=(1, 0.9)))  # type: ignore[arg-type]
    by_layer, by_round = above.subplots(1, 2)
    for position, (server_round, row) in enumerate(means.iterrows()):
        shade = 1 - 0.8 * (len(means) - 1 - position) / max(1, len(means) - 1)
        label = f"round {server_round}" if position in (0, len(means) - 1) else None
        by_layer.plot(range(len(row)), row, color=PALETTE[0], alpha=shade, marker="o", label=label)
    _finish_layers(by_layer, list(means.columns))
    _draw_rounds(by_round, means, run_dir)
    panels = below.subplots(1, len(layers), squeeze=False)[0]
    names = dict(zip(means.columns, short_names(list(means.columns)), strict=True))
    for axes, layer in zip(panels, layers, strict=True):
        image = _draw_matrix(axes, similarity_matrix(similarities, layer, last))
        label_axes(axes, "client", "client" if layer == layers[0] else "", f"{names[layer]}, round {last}")
    below.colorbar(image, ax=list(panels), label="CKA", shrink=0.8)
    return save(figure, run_dir / "plots" / "similarity.png")


def compare_similarities(run_dirs: Sequence[Path], out: Path | None, file: Path | None) -> Path | None:
    """Print the mean CKA of every layer in the last recorded round of runs and, with `out`, draw it.

    The picture also has the mean CKA of the first layer against the accuracy, a point per recorded round.

    Raises
    ------
    UserError
        If a run has recorded no similarities, or runs have different layers.
    """
    means: dict[Path, pd.DataFrame] = {}

    def read(run_dir: Path) -> None:
        means[run_dir] = layer_means(read_similarities(run_dir))

    for_each(run_dirs, read)
    layers = list(next(iter(means.values())).columns)
    for run_dir, table in means.items():
        if list(table.columns) != layers:
            raise UserError(
                f"{run_dir} and {run_dirs[0]} have different layers: compare runs of one architecture"
            )
    _print_means(means, layers, file)
    if out is None:
        return None
    by_layer, by_accuracy = (figure := new_figure(10, 4)).subplots(1, 2)
    for index, (run_dir, table) in enumerate(means.items()):
        colour = PALETTE[index % len(PALETTE)]
        by_layer.plot(range(len(layers)), table.iloc[-1], color=colour, marker="o", label=run_dir.name)
        accuracy = _accuracy(run_dir).reindex(table.index)
        by_accuracy.plot(table[layers[0]], 100 * accuracy, color=colour, marker="o", label=run_dir.name)
    _finish_layers(by_layer, layers)
    label_axes(by_accuracy, f"CKA of {short_names(layers)[0]}, mean over pairs", "test accuracy (%)")
    by_accuracy.grid(alpha=0.3)
    return save(figure, out)


def _print_means(means: dict[Path, pd.DataFrame], layers: list[str], file: Path | None) -> None:
    header = ["run", "round", *short_names(layers)]
    rows = [
        [run_dir.name, str(table.index[-1]), *(f"{value:.3f}" for value in table.iloc[-1])]
        for run_dir, table in means.items()
    ]
    print_table(header, rows)
    if file:
        print(write_table(file, header, rows))


def _finish_layers(axes: Axes, layers: list[str]) -> None:
    axes.set_xticks(range(len(layers)), short_names(layers), rotation=45 if len(layers) > 4 else 0)
    axes.set_ylim(0, 1.03)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=TEXT_SIZE, frameon=False)
    label_axes(axes, "layer", "CKA, mean over pairs of clients")


def _draw_rounds(axes: Axes, means: pd.DataFrame, run_dir: Path) -> None:
    names = short_names(list(means.columns))
    for index, (layer, name) in enumerate(zip(means.columns, names, strict=True)):
        colour = PALETTE[index % len(PALETTE)]
        axes.plot(means.index, means[layer], color=colour, marker="o", markersize=4, label=name)
    accuracy = _accuracy(run_dir)
    if not accuracy.empty:
        axes.plot(accuracy.index, accuracy, color="black", linestyle=":", label="test accuracy")
    axes.set_ylim(0, 1.03)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=TEXT_SIZE - 2, frameon=False, ncols=1 + len(names) // 7)
    integer_ticks(axes.xaxis)
    label_axes(axes, "round", "CKA, accuracy")


def _draw_matrix(axes: Axes, matrix: pd.DataFrame) -> AxesImage:
    image = axes.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
    step = -(-len(matrix) // MAX_TICKS)
    ticks = range(0, len(matrix), step)
    labels = [str(matrix.index[tick]) for tick in ticks]
    axes.set_xticks(ticks, labels, rotation=90)
    axes.set_yticks(ticks, labels)
    return image


def _accuracy(run_dir: Path) -> "pd.Series[float]":
    try:
        metrics = read_metrics(run_dir).set_index("round")
    except NoDataError:
        return pd.Series(dtype=float)
    return metrics["test_accuracy"].dropna() if "test_accuracy" in metrics else pd.Series(dtype=float)


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the similarities of runs."""
    parser = Parser(
        prog="python -m analysis similarity",
        description="Compare the similarity of clients' models between runs, layer by layer.",
    )
    add_runs(parser)
    add_picture(parser, "draw the comparison into this file")
    add_table(parser)
    options = parser.parse_args(arguments)
    check_files(options)
    picture = compare_similarities(begun_runs(options.directories), options.out, options.table)
    if picture:
        print(picture)


if __name__ == "__main__":
    sys.exit(main())
