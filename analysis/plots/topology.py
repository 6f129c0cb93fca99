"""Topology of a decentralised run: clients on a circle, a panel per distinct set of links."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.reading.run_directory import read_metrics, read_topology
from analysis.style import PALETTE, TEXT_SIZE, TITLE_SIZE, new_figure, panels, save

MAX_PANELS = 8
MAX_NAMED = 40  # clients; the ids of more would not fit


def plot(run_dir: Path) -> Path:
    """Draw the links, with arrow heads where they are one-way, and the spectral gap."""
    links = read_topology(run_dir)
    rounds = links["round"].unique()[:MAX_PANELS]
    num_clients = int(links[["client_id", "neighbour"]].to_numpy().max()) + 1
    gaps = read_metrics(run_dir).set_index("round").get("spectral_gap", pd.Series(dtype=float))
    width = 4.2 if len(rounds) == 1 else 3.2
    figure = new_figure(width * min(4, len(rounds)), (width + 0.4) * -(-len(rounds) // 4))
    for axes, number in zip(panels(figure, len(rounds), 4), rounds, strict=True):
        _draw(axes, links[links["round"] == number], num_clients)
        gap = f"spectral gap {gaps[number]:.3g}" if number in gaps.index else ""
        title = [f"round {number}" if len(rounds) > 1 else f"{num_clients} clients", gap]
        axes.set_title(", ".join(filter(None, title)), fontsize=TITLE_SIZE)
    return save(figure, run_dir / "plots" / "topology.png")


def _draw(axes: Axes, links: pd.DataFrame, num_clients: int) -> None:
    angles = np.pi / 2 - 2 * np.pi * np.arange(num_clients) / num_clients
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    pairs = set(zip(links["client_id"], links["neighbour"], strict=True))
    for client, neighbour in sorted(pairs):
        ends = {"xy": points[client], "xytext": points[neighbour]}
        if (neighbour, client) not in pairs:
            style = {"arrowstyle": "-|>", "color": PALETTE[0], "shrinkA": 5, "shrinkB": 5, "linewidth": 0.8}
            axes.annotate("", **ends, arrowprops=style)
        elif client < neighbour:
            axes.plot(*points[[client, neighbour]].T, color=PALETTE[0], linewidth=0.8, zorder=1)
    axes.scatter(
        points[:, 0], points[:, 1], color=PALETTE[1], s=30 if num_clients <= MAX_NAMED else 4, zorder=2
    )
    if num_clients <= MAX_NAMED:
        for client, (x, y) in enumerate(1.13 * points):
            axes.text(x, y, str(client), fontsize=TEXT_SIZE - 1, ha="center", va="center")
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    axes.axis("off")
