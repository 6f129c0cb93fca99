"""Legends below a figure that never cut off an entry and stay readable with any number of lines."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.style import PALETTE, TEXT_SIZE

MAX_ENTRIES = 24
_SIZE = TEXT_SIZE - 2
_LETTER_INCHES, _HANDLE_INCHES, _LINE_INCHES = 0.075, 0.8, 0.19  # in that size
_STYLES: tuple[Any, ...] = (
    "-", "--", ":", "-.", (0, (3, 1, 1, 1, 1, 1)), (0, (7, 1)), (0, (1, 3)),
)  # fmt: skip
# The look of lines without a legend entry.
UNNAMED: dict[str, Any] = {"color": "#999999", "linestyle": "-", "linewidth": 0.7}


def line_look(number: int) -> dict[str, Any]:
    """Return colour and dashes of the n-th line: 63 are distinct, the first seven also in greyscale."""
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": _STYLES[number % len(_STYLES)]}


class Legend:
    """A layout for labels of any length below a figure: as many per row as fit, long ones wrapped.

    Attributes
    ----------
    labels : list of str
        The labels shown, with line breaks.
    height : float
        Height of all rows in inches.
    """

    def __init__(self, labels: Sequence[str], width: float) -> None:
        self._left_out = len(labels) - MAX_ENTRIES if len(labels) > MAX_ENTRIES else 0
        room = max(8, int((width - _HANDLE_INCHES) / _LETTER_INCHES))
        shown = labels[:MAX_ENTRIES]
        self.labels = ["\n".join(textwrap.wrap(label, room)) or label for label in shown]
        longest = max((len(line) for label in self.labels for line in label.split("\n")), default=1)
        self._columns = max(1, int(width / (longest * _LETTER_INCHES + _HANDLE_INCHES)))
        lines = max((label.count("\n") + 1 for label in self.labels), default=1)
        entries = len(self.labels) + bool(self._left_out)
        self.height = _LINE_INCHES * lines * -(-entries // self._columns)

    def look(self, number: int, look: dict[str, Any]) -> dict[str, Any]:
        """Return the look of the n-th line, or the common look of lines without an entry."""
        return look if number < MAX_ENTRIES else UNNAMED

    def draw(self, figure: Figure, looks: Sequence[dict[str, Any]]) -> None:
        """Put the legend below the panels; `looks` are those of the lines, in order."""
        handles = [
            Line2D([], [], **look, label=label) for look, label in zip(looks, self.labels, strict=False)
        ]
        if self._left_out:
            handles.append(Line2D([], [], **UNNAMED, label=f"and {self._left_out} more"))
        figure.legend(
            handles=handles, loc="outside lower center", ncols=self._columns, fontsize=_SIZE, frameon=False,
            handlelength=3,
        )  # fmt: skip
