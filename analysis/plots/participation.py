"""The number of rounds in which each client took part, and the sampling distribution behind it.

``python -m analysis participation RUN_DIR [RUN_DIR ...] --out FILE.png`` compares runs.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.many_clients import MAX_DRAWN, draw_histogram, group_means
from analysis.reading.run_directory import (
    NoDataError,
    read_client_ids,
    read_clients,
    read_participation,
)
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save

# With more clients than this, gaps between bars would alias.
MAX_SEPARATE_BARS = 200


def plot(run_dir: Path) -> Path:
    """Draw the number of rounds in which each client took part, and the expectation of uniform sampling.

    If the run sampled its cohorts with unequal probabilities, these are drawn above, in descending order, and
    the expected number of rounds next to the actual one. More than 500 clients are not drawn individually,
    but as a histogram of their rounds, or as means of neighbours in that order.
    """
    counts = participation_counts(run_dir)
    distribution = _distribution(run_dir)
    width = float(np.clip(0.12 * len(counts), 6, 14))
    if distribution is None or np.ptp(distribution["probability"]) == 0:
        axes = new_figure(width, 3.6).subplots()
        if len(counts) > MAX_DRAWN:
            draw_histogram(axes, counts)
            axes.axvline(counts.mean(), color=PALETTE[4], linestyle="--", label=_uniform(counts))
            axes.legend(fontsize=TEXT_SIZE, frameon=False, loc="upper right")
            label_axes(axes, "rounds taken part in", "clients", _describe(counts))
        else:
            _draw_counts(axes, counts)
            label_axes(axes, "client", "rounds taken part in", _describe(counts))
    else:
        distribution = distribution.sort_values("probability", ascending=False, kind="stable")
        top, axes = new_figure(width, 6).subplots(2, 1, sharex=True)
        p = distribution["probability"].to_numpy()
        _draw_bars(top, p)
        top.axhline(1 / len(p), color=PALETTE[4], linestyle="--", label=f"uniform: {1 / len(p):.3g}")
        top.legend(fontsize=TEXT_SIZE, frameon=False, loc="upper right")
        title = f"effective number of clients: {effective_number(p):.1f} of {len(p)}"
        label_axes(top, "", "sampling probability", title)
        ordered = counts.reindex(distribution.index, fill_value=0).reset_index(drop=True)
        _draw_counts(axes, ordered, distribution["inclusion"].to_numpy() * _num_rounds(run_dir))
        label_axes(axes, "client, by sampling probability", "rounds taken part in", _describe(counts))
    figure = axes.get_figure()
    return save(figure, run_dir / "plots" / "participation.png")  # type: ignore[arg-type]


def participation_counts(run_dir: Path) -> "pd.Series[int]":
    """Return the number of rounds of every client by client id; clients that never took part count 0."""
    counts = read_clients(run_dir)["client_id"].value_counts()
    try:
        clients = read_client_ids(run_dir).union(counts.index)
    except NoDataError:
        clients = pd.RangeIndex(counts.index.max() + 1)
    return counts.reindex(clients, fill_value=0).sort_index()


def effective_number(shares: "pd.Series[int] | np.ndarray") -> float:
    """Return 1 / sum(p**2) of the normalised shares p: the number of clients if all are equal."""
    p = np.asarray(shares, dtype=float) / np.sum(shares)
    return float(1 / (p**2).sum())


def gini(counts: "pd.Series[int] | np.ndarray") -> float:
    """Return the Gini coefficient: 0 if all are equal, 1 - 1 / n if one of n has everything."""
    ordered = np.sort(np.asarray(counts, dtype=float))
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def num_seen(counts: "pd.Series[int]") -> int:
    """Return the number of distinct clients that took part."""
    return int((counts > 0).sum())


def _describe(counts: "pd.Series[int]") -> str:
    return (
        f"{num_seen(counts)} of {len(counts)} clients seen, effective number {effective_number(counts):.1f},"
        f" Gini coefficient {gini(counts):.2f}"
    )


def _distribution(run_dir: Path) -> pd.DataFrame | None:
    try:
        return read_participation(run_dir)
    except NoDataError:
        return None


def _num_rounds(run_dir: Path) -> int:
    return int(read_clients(run_dir)["round"].nunique())


def _uniform(counts: "pd.Series[int]") -> str:
    return f"uniform: {counts.mean():.1f} rounds each"


def _draw_bars(axes: Axes, values: "np.ndarray | pd.Series[int]") -> None:
    if len(values) > MAX_SEPARATE_BARS:
        means, edges = group_means(values)
        axes.stairs(means, edges - 0.5, fill=True, color=PALETTE[0])
    else:
        axes.bar(range(len(values)), values, width=0.8, color=PALETTE[0])
    axes.margins(x=0.01)
    axes.grid(axis="y", alpha=0.3)


def _draw_counts(axes: Axes, counts: "pd.Series[int]", expected: np.ndarray | None = None) -> None:
    _draw_bars(axes, counts)
    axes.axhline(counts.mean(), color=PALETTE[4], linestyle="--", label=_uniform(counts))
    if expected is not None:
        axes.step(range(len(counts)), expected, where="mid", color="black", linewidth=1, label="expected")
    integer_ticks(axes.xaxis)
    integer_ticks(axes.yaxis, most=6)
    axes.set_ylim(top=1.2 * max(counts.max(), 0 if expected is None else expected.max()))
    axes.legend(fontsize=TEXT_SIZE, frameon=False, loc="upper right")
