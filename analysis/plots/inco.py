"""Effect of InCo Aggregation on each layer, round by round (Chan et al., ICLR 2024, figure 9 and table 4).

``python -m analysis inco RUN_DIR`` prints a table with a row per layer and draws ``plots/inco.png``.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from analysis.command import add_picture, add_runs, add_table, check_files, check_single, command, for_each
from analysis.reading.run_directory import read_layers
from analysis.reading.selection import begun_runs
from analysis.style import PALETTE, drawing, integer_ticks, label_axes, new_figure, save, short_names
from analysis.tables import print_table, write_table
from common.command_line import Parser

_MAPS = {
    "theta": "mean theta",
    "beta_positive": "share of kernels with beta > 0",
    "clipped": "share of clipped entries",
}
_BARS = "share of rounds with beta > 0"


def layer_table(layers: pd.DataFrame) -> pd.DataFrame:
    """Return means over rounds, indexed by layer in the model's order.

    Returns
    -------
    pandas.DataFrame
        ``theta``, ``beta_positive`` and ``clipped``: means over the rounds in which any client of the cohort
        held the layer; ``rounds`` is their number. ``rounds_positive``: the share of these in which the
        inner product of the layer's update with its reference's was positive (table 4).
    """
    grouped = layers.assign(rounds_positive=layers["layer_beta"] > 0).groupby("layer", sort=False)
    means = grouped[["theta", "beta_positive", "clipped", "rounds_positive"]].mean()
    return means.assign(rounds=grouped.size()).loc[_order(layers)]


def plot(run_dir: Path) -> Path:
    """Draw theta, the signs of beta and the clipping of every layer over the rounds of a run.

    Rounds in which no client held a layer are blank.
    """
    layers = read_layers(run_dir)
    order = _order(layers)
    figure = new_figure(11, 1.6 + 2 * max(2.2, 0.19 * len(order)))
    panels = figure.subplots(2, 2)
    for axes, (column, title) in zip(panels.flat, _MAPS.items(), strict=False):
        table = layers.pivot_table(index="layer", columns="round", values=column).loc[order]
        _draw_map(axes, table, title, is_balance=column == "beta_positive")
    shares = layer_table(layers)["rounds_positive"]
    axes = panels.flat[3]
    axes.barh(range(len(order)), 100 * shares, color=PALETTE[0])
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    _name_layers(axes, order)
    label_axes(axes, "% of rounds", "", _BARS)
    return save(figure, run_dir / "plots" / "inco.png")


def _draw_map(axes: Axes, table: pd.DataFrame, title: str, is_balance: bool) -> None:
    """Draw a heat map of layers against rounds; a balance is a share whose neutral value is one half."""
    deviation = max(0.05, float(np.nanmax(np.abs(table.to_numpy() - 0.5))))
    largest = float(np.nanmax(table.to_numpy())) or 1.0
    # Recorded rounds have equal widths, whatever their distance.
    rounds = range(int(table.columns.min()), int(table.columns.max()) + 1)
    table = table.reindex(columns=rounds)
    image = axes.imshow(
        table,
        aspect="auto",
        interpolation="nearest",
        norm=Normalize(0.5 - deviation, 0.5 + deviation) if is_balance else Normalize(0, largest),
        cmap="RdBu_r" if is_balance else "viridis",
        extent=(rounds[0] - 0.5, rounds[-1] + 0.5, len(table) - 0.5, -0.5),
    )
    _name_layers(axes, list(table.index))
    integer_ticks(axes.xaxis)
    label_axes(axes, "round", "", title)
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes)


def _name_layers(axes: Axes, order: list[str]) -> None:
    axes.set_yticks(range(len(order)), short_names(order))


def _order(layers: pd.DataFrame) -> list[str]:
    """Return the layers in the model's order, which is the order of rows within every round."""
    by_round = [list(rows["layer"]) for _, rows in layers.groupby("round")]
    order: list[str] = []
    for names in sorted(by_round, key=len, reverse=True):
        for position, name in enumerate(names):
            if name not in order:
                before = [order.index(other) for other in names[:position] if other in order]
                order.insert(max(before, default=-1) + 1, name)
    return order


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of a run and draw its picture."""
    parser = Parser(prog="python -m analysis inco", description="The effect of InCo on each layer of a run.")
    add_runs(parser)
    add_picture(parser, "file of the picture, for a single run (default: in plots/ of each run)")
    add_table(parser)
    options = parser.parse_args(arguments)
    check_files(options)
    runs = begun_runs(options.directories)
    check_single(options, runs, "run")
    with drawing(into=options.out):
        for_each(runs, lambda path: _show(path, options.table))


def _show(run_dir: Path, file: Path | None) -> None:
    table = layer_table(read_layers(run_dir))
    picture = plot(run_dir)
    header = ["layer", "rounds", *_MAPS.values(), _BARS]
    rows = []
    for name, (_, row) in zip(short_names(list(table.index)), table.iterrows(), strict=True):
        values = (f"{row[column]:.3f}" for column in (*_MAPS, "rounds_positive"))
        rows.append([name, str(int(row["rounds"])), *values])
    print_table(header, rows)
    if file:
        print(write_table(file, header, rows))
    print(picture)


if __name__ == "__main__":
    sys.exit(main())
