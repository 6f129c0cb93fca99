"""Repetitions of a run as one curve: the median as a line, minimum to maximum as a band.

The figures of Bao, Crawshaw and Liu (ICML 2024) show seeds in this way.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from common.number_text import fixed

_MARGIN = 0.05
_BAND_ALPHA = 0.25


def band(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``median``, ``low`` and ``high`` over the columns of a table, one column per repetition."""
    return pd.DataFrame({"median": table.median(axis=1), "low": table.min(axis=1), "high": table.max(axis=1)})


def limits(bands: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """Return axis limits with a margin of 5 % below all bands, and 5 % of the resulting range above.

    Bands of a single value get 5 % of it on both sides.
    """
    low = float(min(table["low"].min() for table in bands))
    high = float(max(table["high"].max() for table in bands))
    if low == high:
        margin = _MARGIN * (abs(low) or 1)
        return low - margin, high + margin
    low -= _MARGIN * (high - low)
    return low, high + _MARGIN * (high - low)


def final_text(curves: Sequence["pd.Series[float]"]) -> str:
    """Return the mean of the last values "+/-" the largest minus the mean, as the authors print it."""
    last = [float(curve.iloc[-1]) for curve in curves]
    mean = float(np.mean(last))
    return fixed(mean, 4) + (f" +/- {fixed(max(last) - mean, 4)}" if len(last) > 1 else "")


def draw_band(axes: Axes, table: pd.DataFrame, x: npt.ArrayLike, **style: Any) -> None:
    """Draw the median against `x`, one value per row, and the band around it."""
    axes.plot(x, table["median"], **{"linewidth": 1.5, **style})
    if (table["low"] < table["high"]).any():
        axes.fill_between(
            x, table["low"], table["high"], color=style.get("color"), alpha=_BAND_ALPHA, linewidth=0
        )
