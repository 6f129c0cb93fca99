"""Accuracy of the global model on each class of long-tailed data."""

from pathlib import Path

import numpy as np

from analysis.reading.run_directory import read_classes
from analysis.style import PALETTE, TEXT_SIZE, label_axes, new_figure, save

_COLOURS = {"head": PALETTE[0], "middle": PALETTE[1], "tail": PALETTE[2]}
# With more classes than this, bars are labelled by number instead of name.
_MAX_CLASS_NAMES = 25
# Numbers of samples that differ by less are on a linear axis: a logarithmic one would have no readable tick.
_MANY_TIMES = 10


def plot(run_dir: Path) -> Path:
    """Draw the last accuracy on each class as a bar in the colour of its group, and its training samples."""
    table = read_classes(run_dir)
    table = table[table["round"] == table["round"].max()].reset_index(drop=True)
    figure = new_figure(float(np.clip(0.4 * len(table), 5, 15)), 3.5)
    axes = figure.subplots()
    for group, rows in table.groupby("group", sort=False):
        axes.bar(rows.index, 100 * rows["test_accuracy"], width=0.85, color=_COLOURS[str(group)], label=group)
    label_axes(axes, "class", "test accuracy in %", f"round {table['round'].max()}")
    axes.set_ylim(0, 100)
    if len(table) <= _MAX_CLASS_NAMES:
        axes.set_xticks(table.index, [str(name) for name in table["class"]], rotation=45, ha="right")
    counts = axes.twinx()
    counts.plot(table.index, table["train_examples"], color="black", marker=".", linewidth=1)
    if table["train_examples"].max() >= _MANY_TIMES * max(1, table["train_examples"].min()):
        counts.set_yscale("log")
    else:
        counts.set_ylim(bottom=0)
    counts.set_ylabel("training samples", fontsize=TEXT_SIZE)
    counts.tick_params(labelsize=TEXT_SIZE - 1)
    figure.legend(loc="outside upper right", ncols=3, fontsize=TEXT_SIZE - 1, frameon=False)
    return save(figure, run_dir / "plots" / "class_accuracy.png")
