"""How plots show more clients than a reader can distinguish."""

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from analysis.style import PALETTE, integer_ticks

# A figure is about 2000 pixels wide: beyond this number, clients are not drawn individually.
MAX_DRAWN = 500
_MAX_BINS = 50


def group_means(values: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the means of at most ``MAX_DRAWN`` groups of neighbours, and the edges of the groups.

    Groups differ by at most one in size; edges are positions, one more than there are groups.
    """
    numbers = np.asarray(values, dtype=np.float64)
    edges = np.linspace(0, len(numbers), min(len(numbers), MAX_DRAWN) + 1).round().astype(np.int64)
    return np.add.reduceat(numbers, edges[:-1]) / np.diff(edges), edges.astype(np.float64)


def draw_histogram(axes: Axes, values: npt.ArrayLike) -> None:
    """Draw a histogram of whole numbers over clients, in at most 50 bins of equal integer width."""
    numbers = np.asarray(values, dtype=np.int64)
    width = -(-(int(numbers.max()) - int(numbers.min()) + 1) // _MAX_BINS)
    edges = np.arange(numbers.min(), numbers.max() + width + 1, width) - 0.5
    counts, _ = np.histogram(numbers, edges)
    axes.stairs(counts, edges, fill=True, color=PALETTE[0])
    axes.grid(axis="y", alpha=0.3)
    integer_ticks(axes.xaxis)
    integer_ticks(axes.yaxis, most=6)
