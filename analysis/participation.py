"""How often each client took part."""

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.run_directory import NoDataError, read_clients, read_label_distribution
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save

# With more clients than this, gaps between bars would flicker.
MOST_SEPARATE_BARS = 200


def plot_participation(run_dir: Path) -> Path:
    """Draw the number of rounds in which each client took part, and what uniform sampling would give.

    Parameters
    ----------
    run_dir : pathlib.Path
        A run directory.

    Returns
    -------
    pathlib.Path
        The picture, ``plots/participation.png``.

    Raises
    ------
    UserError
        If there is no ``clients.csv``, or it has no rows.
    """
    counts = participation_counts(run_dir)
    figure = new_figure(float(np.clip(0.12 * len(counts), 6, 14)), 3.6)
    axes = figure.subplots()
    axes.bar(counts.index, counts, width=0.8 if len(counts) <= MOST_SEPARATE_BARS else 1.0, color=PALETTE[0])
    axes.axhline(
        counts.mean(), color=PALETTE[4], linestyle="--", label=f"uniform: {counts.mean():.1f} rounds each"
    )
    integer_ticks(axes.xaxis)
    integer_ticks(axes.yaxis, most=6)
    axes.margins(x=0.01)
    axes.set_ylim(top=1.2 * counts.max())
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=TEXT_SIZE, frameon=False, loc="upper right")
    label_axes(
        axes,
        "client",
        "rounds taken part in",
        f"effective number of clients: {effective_number(counts):.1f} of {len(counts)}",
    )
    return save(figure, run_dir / "plots" / "participation.png")


def participation_counts(run_dir: Path) -> "pd.Series[int]":
    """Return the number of rounds of every client by client id; clients that never took part count 0."""
    counts = read_clients(run_dir)["client_id"].value_counts()
    try:
        clients = read_label_distribution(run_dir).index.union(counts.index)
    except NoDataError:
        clients = pd.RangeIndex(counts.index.max() + 1)
    return counts.reindex(clients, fill_value=0).sort_index()


def effective_number(counts: "pd.Series[int]") -> float:
    """Return 1 / sum(p**2) of the shares p: the number of clients if all had taken part equally often."""
    shares = counts / counts.sum()
    return float(1 / (shares**2).sum())
