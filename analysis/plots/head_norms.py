"""Row norms of heads by class, against the classes' numbers of samples (FedLoGe, ICLR 2024).

Realignment rests on these norms: those of the global head follow the long tail over all clients, those of a
local head the client's own classes. ``python -m analysis head-norms RUN_DIR`` prints a table and draws.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from rich.table import Table

from analysis.command import draw_command
from analysis.plots._features import Array, class_counts, local_head_norms, spearman
from analysis.reading.run_directory import NoDataError, read_heads, read_label_distribution
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save
from common.command_line import make_console

# The norms of realigned and fixed heads are prescribed.
LEARNT = ("global_head", "classifier")
_SHARE = 0.2
MAX_CLIENTS = 4


def norms_by_round(run_dir: Path) -> tuple[str, pd.DataFrame]:
    """Return the name of the learnt head, and its norms with a row per round and a column per class."""
    classes = read_heads(run_dir)
    head = next(name for name in LEARNT if name in set(classes["head"]))
    table = classes[classes["head"] == head].pivot_table(index="round", columns="class", values="norm")
    return head, table


def frequent_and_rare(norms: pd.DataFrame, counts: Array) -> pd.DataFrame:
    """Return by round the mean norms of the most and the least frequent fifth of classes, and Spearman's rho.

    Returns
    -------
    pandas.DataFrame
        Columns ``frequent``, ``rare`` and ``spearman``, indexed by round.
    """
    order = np.argsort(-counts, kind="stable")
    size = max(1, int(_SHARE * len(order)))
    return pd.DataFrame(
        {
            "frequent": norms[order[:size]].mean(axis=1),
            "rare": norms[order[-size:]].mean(axis=1),
            "spearman": [spearman(row, counts) for row in norms.to_numpy()],
        },
        index=norms.index,
    )


def client_table(run_dir: Path) -> pd.DataFrame:
    """Return the norms of the clients' heads on their present and absent classes, and rank correlations.

    Returns
    -------
    pandas.DataFrame
        Columns ``absent`` and ``present``, mean norms of the classes that the client lacks and holds, and
        ``spearman_all`` and ``spearman_present`` with its class counts; indexed by ``client_id``.

    Raises
    ------
    UserError
        If clients have no local heads.
    """
    norms, counts = local_head_norms(run_dir), read_label_distribution(run_dir)
    rows = {}
    for client_id in norms.index.tolist():
        own, held = norms.loc[client_id].to_numpy(), counts.loc[client_id].to_numpy(dtype=np.float64)
        present = held > 0
        rows[client_id] = {
            "absent": own[~present].mean() if (~present).any() else np.nan,
            "present": own[present].mean(),
            "spearman_all": spearman(own, held),
            "spearman_present": spearman(own[present], held[present]),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("client_id")


def plot(run_dir: Path) -> Path:
    """Draw the norms of the learnt global head over the rounds, and of clients' local heads.

    Above: norms by class, in descending order of samples; means over the frequent and the rare fifth;
    Spearman's correlation with the class counts. Below: z-scores of norms and counts of the first clients
    with local heads.
    """
    head, norms = norms_by_round(run_dir)
    counts = class_counts(run_dir)
    try:
        local = local_head_norms(run_dir).iloc[:MAX_CLIENTS]
    except NoDataError:
        local = pd.DataFrame()
    figure = new_figure(14, 4 + 3.5 * (not local.empty))
    panels = np.ravel(figure.subfigures(2 if not local.empty else 1, 1))  # type: ignore[arg-type]
    by_class, means, correlation = panels[0].subplots(1, 3)
    order = np.argsort(-counts, kind="stable")
    for position, (server_round, row) in enumerate(norms.iterrows()):
        shade = 1 - 0.8 * (len(norms) - 1 - position) / max(1, len(norms) - 1)
        label = f"round {server_round}" if position in (0, len(norms) - 1) else None
        by_class.plot(range(len(row)), row.to_numpy()[order], color=PALETTE[0], alpha=shade, label=label)
    label_axes(by_class, "class, by number of samples", "norm", head.replace("_", " "))
    table = frequent_and_rare(norms, counts)
    for column, colour in (("frequent", PALETTE[0]), ("rare", PALETTE[1])):
        means.plot(table.index, table[column], color=colour, marker="o", label=f"{column} classes")
    correlation.plot(table.index, table["spearman"], color=PALETTE[2], marker="o")
    label_axes(means, "round", "mean norm", "the fifth with most and with least samples")
    label_axes(correlation, "round", "", "Spearman's correlation of norms and counts")
    correlation.set_ylim(-1.03, 1.03)
    for axes in (by_class, means, correlation):
        integer_ticks(axes.xaxis)
        axes.grid(alpha=0.3)
    for axes in (by_class, means):
        axes.legend(fontsize=TEXT_SIZE - 1, frameon=False)
    if not local.empty:
        distribution = read_label_distribution(run_dir)
        axes_of_clients = panels[1].subplots(1, len(local), squeeze=False)[0]
        for axes, client_id in zip(axes_of_clients, local.index.tolist(), strict=True):
            own, held = (rows.loc[client_id].to_numpy(dtype=np.float64) for rows in (local, distribution))
            _draw_client(axes, f"head of client {client_id}", own, held)
        axes_of_clients[0].legend(fontsize=TEXT_SIZE - 1, frameon=False)
    return save(figure, run_dir / "plots" / "head_norms.png")


def _draw_client(axes: Axes, title: str, norms: Array, counts: Array) -> None:
    order = np.argsort(-counts, kind="stable")
    for values, label, colour in ((norms, "norm", PALETTE[0]), (counts, "samples", PALETTE[1])):
        deviation = values.std() or 1.0
        axes.plot(range(len(order)), ((values - values.mean()) / deviation)[order], color=colour, label=label)
    axes.grid(alpha=0.3)
    integer_ticks(axes.xaxis)
    label_axes(axes, "class, by number of samples", "z-score", title)


def _print(run_dir: Path) -> None:
    head, norms = norms_by_round(run_dir)
    table = Table("round", "norm, frequent classes", "rare classes", "Spearman", title=head.replace("_", " "))
    for server_round, row in frequent_and_rare(norms, class_counts(run_dir)).iterrows():
        table.add_row(str(server_round), *(f"{value:.3f}" for value in row))
    make_console().print(table)
    try:
        clients = client_table(run_dir)
    except NoDataError:
        return
    own = Table("client", "norm, absent classes", "present classes", "Spearman, all", "Spearman, present")
    for client_id, row in clients.iterrows():
        own.add_row(str(client_id), *(f"{value:.3f}" for value in row))
    make_console().print(own)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of a run, draw its picture and return the exit code."""

    def draw(run_dir: Path) -> Path:
        _print(run_dir)
        return plot(run_dir)

    return draw_command(
        "head-norms",
        "Norms of heads by class, against the classes' numbers of samples.",
        lambda run_dir, options: draw(run_dir),
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
