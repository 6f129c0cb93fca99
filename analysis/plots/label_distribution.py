"""Label distribution: the number of examples of each class that each client holds."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from analysis.many_clients import MAX_DRAWN, draw_histogram
from analysis.reading.run_directory import read_label_distribution
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, panels, save
from common.client_tables import evenly_spaced

# With more clients than this, bubbles shrink to a few pixels and a heat map reads better.
MAX_BUBBLE_CLIENTS = 150
# With more classes than this, not all class names are written.
MAX_CLASS_NAMES = 100
_PANEL = (4.6, 3.6)  # inches, of one split among several
_MAX_IN_A_ROW, _MAX_BUBBLES_OF_A_PANEL, _LETTERS_OF_TITLE = 3, 50, 46
_MAX_LABELS_OF_A_PANEL = 10
TICK_STEPS = [step * 10**power for power in range(7) for step in (1, 2, 5)]


def plot(run_dir: Path) -> Path:
    """Draw the examples per client and class, below a bar chart of the client sizes.

    Up to 150 clients are drawn as bubbles whose area is proportional to the number of examples, more as a
    heat map; of more than 500, a sample evenly spaced by client id, below a histogram of all sizes.
    """
    counts = read_label_distribution(run_dir)
    sizes, is_sample = counts.sum(axis=1), len(counts) > MAX_DRAWN
    counts = counts.iloc[evenly_spaced(len(counts), MAX_DRAWN)]
    width, height = _size_of_grid(counts)
    figure = new_figure(width + 1.5, height + 2.5)
    size_axes, class_axes = figure.subplots(2, 1, sharex=not is_sample, height_ratios=[1.3, height])

    if is_sample:
        draw_histogram(size_axes, sizes)
        label_axes(size_axes, "examples of a client", "clients", f"all {len(sizes)} clients")
    else:
        size_axes.bar(np.arange(len(counts)), sizes, width=0.9, color=PALETTE[0])
        integer_ticks(size_axes.yaxis, most=4)
        size_axes.grid(axis="y", alpha=0.3)
        label_axes(size_axes, "", "examples")

    _label_grid(class_axes, counts)
    if is_sample:
        class_axes.set_title(
            f"{len(counts)} of {len(sizes)} clients, evenly spaced by id", fontsize=TEXT_SIZE
        )
    if len(counts) <= MAX_BUBBLE_CLIENTS:
        _draw_bubbles(figure, class_axes, counts)
    else:
        _draw_heat_map(figure, class_axes, counts)
    return save(figure, run_dir / "plots" / "label_distribution.png")


def plot_side_by_side(splits: Mapping[str, pd.DataFrame], path: Path) -> Path:
    """Draw several splits, a panel each: bubbles, or a heat map of more than 50 clients.

    Parameters
    ----------
    splits : mapping
        Title → examples per client (rows) and class (columns); of more than 500 clients, a sample is drawn.
    path : pathlib.Path
        The picture.
    """
    shown = {name: table.iloc[evenly_spaced(len(table), MAX_DRAWN)] for name, table in splits.items()}
    per_row = min(len(shown), _MAX_IN_A_ROW)
    figure = new_figure(_PANEL[0] * per_row, _PANEL[1] * -(-len(shown) // per_row))
    for axes, (name, counts) in zip(panels(figure, len(shown), per_row), shown.items(), strict=True):
        _label_grid(axes, counts, _MAX_LABELS_OF_A_PANEL)
        if len(counts) <= _MAX_BUBBLES_OF_A_PANEL:
            _draw_bubbles(figure, axes, counts)
        else:
            _draw_heat_map(figure, axes, counts)
        of = f", {len(counts)} of {len(splits[name])} clients" if len(counts) < len(splits[name]) else ""
        axes.set_title("\n".join(textwrap.wrap(f"{name}{of}", _LETTERS_OF_TITLE)), fontsize=TEXT_SIZE)
    return save(figure, path)


def _size_of_grid(counts: pd.DataFrame) -> tuple[float, float]:
    """Return a width and height in inches that leave each bubble and each class name enough room."""
    clients, classes = counts.shape
    width = np.clip(0.5 * clients, 5, 15)
    cell = min(width / clients, 0.35)
    height = np.clip(max(cell, 0.15) * classes, 2, 15)
    return float(width), float(height)


def _label_grid(axes: Axes, counts: pd.DataFrame, most_clients: int = 25) -> None:
    clients, classes = counts.shape
    client_step = next(step for step in TICK_STEPS if clients <= most_clients * step)
    class_step = -(-classes // MAX_CLASS_NAMES)
    axes.set_xticks(np.arange(0, clients, client_step), counts.index[::client_step])
    axes.set_yticks(np.arange(0, classes, class_step), counts.columns[::class_step])
    axes.set_xlim(-0.75, clients - 0.25)
    axes.set_ylim(classes - 0.25, -0.75)
    label_axes(axes, "client", "class")
    if classes > 25:
        axes.tick_params(axis="y", labelsize=TEXT_SIZE - 3)


def _draw_bubbles(figure: Figure, axes: Axes, counts: pd.DataFrame) -> None:
    values = counts.to_numpy(dtype=float)
    client, label = np.nonzero(values)
    sizes = values[client, label]
    largest = sizes.max(initial=1)
    axes.grid(alpha=0.2)
    axes.set_title(f"bubble area ∝ examples of the class (largest: {largest:.0f})", fontsize=TEXT_SIZE)
    # The room for a bubble is known only after the labels are laid out.
    figure.draw_without_rendering()
    box = axes.get_window_extent()
    points_per_dot = 72 / figure.dpi
    cell = points_per_dot * min(box.width / (len(counts) + 0.5), box.height / (counts.shape[1] + 0.5))
    # A few outliers may be up to two cells wide; otherwise they would shrink all other bubbles to dots.
    fills_cell = max(np.quantile(sizes, 0.97), largest / 4) if len(sizes) else largest
    axes.scatter(
        client,
        label,
        s=(0.95 * cell) ** 2 * sizes / fills_cell,
        color=PALETTE[0],
        alpha=0.8,
        linewidths=0,
    )


def _draw_heat_map(figure: Figure, axes: Axes, counts: pd.DataFrame) -> None:
    # A square root scale, as for the bubbles' diameters: small counts stay visible next to large ones.
    image = axes.imshow(
        counts.to_numpy(dtype=float).T,
        aspect="auto",
        cmap="Blues",
        norm=PowerNorm(0.5, vmin=0),
        interpolation="nearest",
    )
    axes.set_xlim(-0.5, len(counts) - 0.5)
    axes.set_ylim(counts.shape[1] - 0.5, -0.5)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label("examples", fontsize=TEXT_SIZE)
