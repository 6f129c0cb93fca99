"""Distributions of the server's updates, and their similarity between two runs (Chan et al., figures 2, 3).

``python -m analysis updates RUN_DIR [OTHER_RUN_DIR] [--layers PATTERN,...] [--out FILE.png]``: one run:
distributions and their smoothness; two runs: the linear CKA of their updates by layer and round.
"""

import fnmatch
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from analysis.command import add_picture, add_runs, add_table, check_files, command
from analysis.reading.run_directory import update_files
from analysis.reading.selection import begun_runs
from analysis.style import (
    PALETTE,
    TEXT_SIZE,
    integer_ticks,
    label_axes,
    new_figure,
    panels,
    save,
    short_names,
)
from analysis.tables import print_table, write_table
from common.binary_files import read_safetensors
from common.cka import linear_cka
from common.command_line import Parser
from common.errors import UserError

Updates = Mapping[int, Mapping[str, npt.NDArray[np.floating]]]

NUM_BINS = 100
MAX_PANELS = 12
_PANELS_IN_A_ROW = 3
# Values beyond these quantiles, over all rounds, are not drawn.
_SHOWN = (0.001, 0.999)
# From this share on, a title gives the share of entries without an update.
_TOLD = 0.01


def read_updates(run_dir: Path, layers: str = "") -> dict[int, dict[str, npt.NDArray[np.floating]]]:
    """Return round → entry of the model → update.

    Parameters
    ----------
    run_dir : pathlib.Path
        A run directory.
    layers : str, default ""
        Patterns of names, separated by commas; empty: all entries with more than one value.

    Raises
    ------
    UserError
        If the run has recorded no updates, or none of such a name.
    """
    patterns = [part.strip() for part in layers.split(",") if part.strip()] or ["*"]
    updates = {
        server_round: {
            name: value
            for name, value in read_safetensors(path).items()
            if value.size > 1 and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        }
        for server_round, path in update_files(run_dir).items()
    }
    if not any(updates.values()):
        of_these = f" of layers like '{layers}'" if layers else ""
        raise UserError(f"{run_dir} has recorded no updates{of_these}")
    return updates


def smoothness(updates: Updates) -> pd.DataFrame:
    """Return two measures of the smoothness of each layer's distributions over rounds.

    Entries with a zero update in a round are left out: no sample can reach them, such as all but the centre
    of 3x3 kernels on feature maps of one pixel.

    Returns
    -------
    pandas.DataFrame
        Indexed by layer. ``total_variation``: sum of |p_b - p_(b-1)| over the probabilities of neighbouring
        bins, mean over rounds; of a smooth distribution with one peak it is twice the largest p_b.
        ``distance``: mean 1-Wasserstein distance of consecutive recorded rounds, in units of their pooled
        standard deviation.
    """
    from scipy.stats import wasserstein_distance  # takes half a second, and every run imports this module

    rows = {}
    for layer in _layers(updates):
        values = list(_moved(updates, layer).values())
        if not values:
            continue
        edges = _edges(values)
        variations = [
            np.abs(np.diff(_probabilities(value, edges), prepend=0, append=0)).sum() for value in values
        ]
        distances = [
            wasserstein_distance(a, b) / max(np.concatenate([a, b]).std(), np.finfo(float).tiny)
            for a, b in itertools.pairwise(values)
        ]
        rows[layer] = {
            "total_variation": float(np.mean(variations)),
            "distance": float(np.mean(distances)) if distances else float("nan"),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def update_similarity(first: Updates, second: Updates) -> pd.DataFrame:
    """Return the linear CKA of two runs' updates, a row per common round and a column per common layer.

    The samples of a convolution (outputs, inputs, height, width) or a matrix are its outputs; those of a
    vector are its entries, with one feature.
    """
    layers = [layer for layer in _layers(first) if layer in _layers(second)]
    rows = {
        server_round: {
            layer: linear_cka(first[server_round][layer], second[server_round][layer])
            for layer in layers
            if layer in first[server_round] and layer in second[server_round]
        }
        for server_round in sorted(set(first) & set(second))
    }
    return pd.DataFrame.from_dict(rows, orient="index").reindex(columns=layers)


def plot(run_dir: Path, layers: str = "", out: Path | None = None) -> Path:
    """Draw the distribution of each layer's non-zero updates, a curve per recorded round.

    Parameters
    ----------
    run_dir : pathlib.Path
        A run directory.
    layers : str, default ""
        As in :func:`read_updates`; of more than twelve layers, the last with more than one axis are drawn, or
        else the last.
    out : pathlib.Path, optional
        The picture; ``plots/updates.png`` if it is not given.

    Raises
    ------
    UserError
        If the run has recorded no updates, or none of such a name.
    """
    updates = read_updates(run_dir, layers)
    names = _most_telling(updates)
    columns = min(_PANELS_IN_A_ROW, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(max(6, 3.8 * columns), 2.9 * rows + 0.4)
    found = panels(figure, len(names), columns)
    scale = Normalize(min(updates), max(max(updates), min(updates) + 1))
    for axes, name, title in zip(found, names, short_names(names), strict=True):
        values = _moved(updates, name)
        if not values:
            label_axes(axes, "update", "density", f"{title}: all zero")
            continue
        size = sum(updates[server_round][name].size for server_round in values)
        zeros = 1 - sum(map(len, values.values())) / size
        edges = _edges(list(values.values()))
        for server_round, value in values.items():
            density = _probabilities(value, edges) / np.diff(edges)
            axes.plot(
                (edges[:-1] + edges[1:]) / 2,
                density,
                color=colormaps["viridis"](scale(server_round)),
                linewidth=1,
            )
        axes.ticklabel_format(style="sci", scilimits=(0, 0), axis="both")
        label_axes(axes, "update", "density", title if zeros < _TOLD else f"{title} ({zeros:.0%} zero)")
    bar = figure.colorbar(ScalarMappable(scale, "viridis"), ax=found, label="round", shrink=0.8)
    integer_ticks(bar.ax.yaxis)
    return save(figure, out or run_dir / "plots" / "updates.png")


def plot_update_similarity(similarity: pd.DataFrame, path: Path) -> Path:
    """Draw the table of :func:`update_similarity` against rounds."""
    axes = new_figure(7, 4).subplots()
    names = short_names(list(similarity.columns))
    for index, (layer, name) in enumerate(zip(similarity.columns, names, strict=True)):
        axes.plot(
            similarity.index,
            similarity[layer],
            color=PALETTE[index % len(PALETTE)],
            linestyle=("-", "--", ":", "-.")[index // len(PALETTE) % 4],
            marker="o",
            markersize=3,
            label=name,
        )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=TEXT_SIZE - 2, frameon=False, ncols=1 + len(names) // 9)
    integer_ticks(axes.xaxis)
    label_axes(axes, "round", "CKA of both runs' updates")
    return save(axes.get_figure(), path)  # type: ignore[arg-type]


def _moved(updates: Updates, layer: str) -> dict[int, npt.NDArray[np.floating]]:
    """Return round → the entries of a layer's update that are not zero, if there are any."""
    values = {number: of_round[layer].ravel() for number, of_round in updates.items() if layer in of_round}
    return {number: value[value != 0] for number, value in values.items() if value.any()}


def _layers(updates: Updates) -> list[str]:
    return list(dict.fromkeys(name for of_round in updates.values() for name in of_round))


def _most_telling(updates: Updates) -> list[str]:
    names = _layers(updates)
    if len(names) <= MAX_PANELS:
        return names
    kernels = [name for name in names if any(v[name].ndim > 1 for v in updates.values() if name in v)]
    return (kernels or names)[-MAX_PANELS:]


def _edges(values: Sequence[npt.NDArray[np.floating]]) -> npt.NDArray[np.float64]:
    low, high = np.quantile(np.concatenate(values), _SHOWN)
    if low == high:
        low, high = low - 1e-12, high + 1e-12
    edges: npt.NDArray[np.float64] = np.linspace(low, high, NUM_BINS + 1)
    return edges


def _probabilities(
    values: npt.NDArray[np.floating], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.histogram(values, edges)[0] / values.size
    return shares


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the updates of one run, or compare those of two."""
    parser = Parser(
        prog="python -m analysis updates",
        description="Distributions of the server's updates of one run, or their similarity between two.",
    )
    add_runs(parser)
    parser.add_argument("--layers", default="", help="patterns of names of entries, separated by commas")
    add_picture(parser)
    add_table(parser)
    options = parser.parse_args(arguments)
    check_files(options)
    runs = begun_runs(options.directories)
    if len(runs) == 1:
        picture = plot(runs[0], options.layers, options.out) if options.out else None
        table = smoothness(read_updates(runs[0], options.layers))
    elif len(runs) == 2:
        first, second = (read_updates(run, options.layers) for run in runs)
        similarity = update_similarity(first, second)
        if similarity.empty:
            raise UserError("the runs have no recorded round and layer in common")
        table = similarity.mean().to_frame("mean CKA")
        picture = plot_update_similarity(similarity, options.out) if options.out else None
    else:
        raise UserError(f"name one run, or two to compare their updates, not {len(runs)}")
    _print(table, "layer", options.table)
    if picture:
        print(picture)


def _print(table: pd.DataFrame, index: str, file: Path | None) -> None:
    header = [index, *map(str, table.columns)]
    rows = [[str(name), *(f"{value:.4f}" for value in row)] for name, row in table.iterrows()]
    print_table(header, rows)
    if file:
        print(write_table(file, header, rows))


if __name__ == "__main__":
    sys.exit(main())
