"""A progress bar in the output of a notebook's cell: one line, updated in place."""

import sys
import time
from collections.abc import Mapping
from html import escape
from typing import Any

from server.records.progress_text import EVALUATED, TRAINED, describe, has_evaluation

_SECONDS_BETWEEN_UPDATES = 0.3


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, such as Jupyter's or Colab's."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


class Line:
    """The cell's output, as HTML and as text."""

    def __init__(self, text: str, finished: int, total: int) -> None:
        self._text, self._finished, self._total = text, finished, total

    def _repr_html_(self) -> str:
        bar = f'<progress value="{self._finished}" max="{self._total}" style="width: 16em"></progress>'
        return f"<div>{bar} {escape(self._text)}</div>"

    def __repr__(self) -> str:
        return self._text


class NotebookBar:
    """A progress bar with the round's loss, the latest evaluation, and the remaining time."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._finished = self._first = self._total = 0
        self._started = self._shown = 0.0
        self._trained = self._evaluated = ""

    def start(self, finished: int, total: int) -> None:
        """Begin with `finished` of `total` rounds done."""
        self._finished = self._first = finished
        self._total, self._started = total, time.monotonic()
        self._update()

    def show(self, row: Mapping[str, float]) -> None:
        """Show a finished round's metrics, unless the last update is less than 0.3 seconds old."""
        self._finished = int(row["round"])
        self._trained = describe(row, TRAINED)
        if has_evaluation(row):
            self._evaluated = f"in round {row['round']:.0f}: {describe(row, EVALUATED)}"
        if time.monotonic() - self._shown >= _SECONDS_BETWEEN_UPDATES:
            self._update()

    def note(self, text: str) -> None:
        """Print a line of text."""
        print(text, flush=True)

    def stop(self) -> None:
        """Show the last state, which stays in the cell."""
        self._update()

    @property
    def _left(self) -> str:
        done = self._finished - self._first
        if not done or self._finished >= self._total:
            return ""
        seconds = (time.monotonic() - self._started) / done * (self._total - self._finished)
        return f"{seconds:.0f} s left" if seconds < 90 else f"{seconds / 60:.0f} min left"

    def _update(self) -> None:
        from IPython.display import display

        parts = (f"round {self._finished}/{self._total}", self._trained, self._evaluated, self._left)
        line = Line("  ".join(filter(None, parts)), self._finished, self._total)
        self._shown = time.monotonic()
        if self._handle is None:
            self._handle = display(line, display_id=True)
        else:
            self._handle.update(line)
