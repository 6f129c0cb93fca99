"""Neural collapse over the rounds of a run (Papyan et al. 2020; FedLoGe, ICLR 2024).

``python -m analysis neural-collapse RUN_DIR`` redraws it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from analysis.command import draw_command
from analysis.plots._features import Array, read_features
from analysis.reading.run_directory import read_neural_collapse
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save

_PANELS = {
    "NC1: within over between classes": ("nc1",),
    "NC2: norms and angles of centred class means": ("nc2_norms", "nc2_angles"),
    "NC3: head against class means": ("nc3", "nc3_global_head"),
    "NC4: head and nearest mean disagree": ("nc4", "nc4_global_head"),
}
_LABELS = {
    "nc2_norms": "std / mean of norms",
    "nc2_angles": "|cos + 1 / (C - 1)|",
    "nc3": "the model's head",
    "nc3_global_head": "global head",
    "nc4": "the model's head",
    "nc4_global_head": "global head",
}


def angle_matrix(vectors: Array) -> Array:
    """Return the angles in degrees between all rows, (rows, rows), 0 on the diagonal."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(norms == 0, 1, norms)
    angles: Array = np.degrees(np.arccos(np.clip(units @ units.T, -1, 1)))
    np.fill_diagonal(angles, 0)
    return angles


def plot(run_dir: Path) -> Path:
    """Draw NC1 to NC4 of the features of the test images over the recorded rounds.

    Below, for the last of them: norms of the class means, angles between uncentred class means (at most 90
    degrees for non-negative features), and angles between the rows of the model's head.
    """
    table = read_neural_collapse(run_dir).set_index("round")
    features = read_features(run_dir)
    figure = new_figure(15, 7)
    above, below = np.ravel(figure.subfigures(2, 1))  # type: ignore[arg-type]
    for axes, (title, columns) in zip(above.subplots(1, 4), _PANELS.items(), strict=True):
        for colour, column in zip(PALETTE, columns, strict=False):
            if column in table:
                axes.plot(table.index, table[column], color=colour, marker="o", label=_LABELS.get(column))
        integer_ticks(axes.xaxis)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        label_axes(axes, "round", "", title)
        if len(axes.lines) > 1:
            axes.legend(fontsize=TEXT_SIZE - 2, frameon=False)
    bars, means, head = below.subplots(1, 3)
    norms = np.linalg.norm(features.means, axis=1)
    bars.bar(range(len(norms)), norms, color=PALETTE[0])
    label_axes(bars, "class", "norm", f"class means, round {features.server_round}")
    for axes, vectors, title in (
        (means, features.means, "angles between class means"),
        (head, features.heads["classifier"], "angles between rows of the head"),
    ):
        _draw_angles(axes, angle_matrix(vectors), title)
    return save(figure, run_dir / "plots" / "neural_collapse.png")


def _draw_angles(axes: Axes, angles: Array, title: str) -> None:
    image = axes.imshow(angles, vmin=0, vmax=max(90.0, float(angles.max())), cmap="viridis")
    label_axes(axes, "class", "class", title)
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes, label="degrees")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture of a run and return the exit code."""
    return draw_command(
        "neural-collapse",
        "Draw neural collapse over the rounds of a run.",
        lambda run_dir, options: plot(run_dir),
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
