"""Progress output during a run: a live bar on a terminal, an occasional line elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from server.records.notebook_bar import NotebookBar, in_notebook
from server.records.progress_text import EVALUATED, TRAINED, describe, has_evaluation

_SECONDS_BETWEEN_LINES = 5.0


class ProgressDisplay(Protocol):
    """Shows the rounds of a run."""

    def start(self, finished: int, total: int) -> None:
        """Begin with `finished` of `total` rounds done."""

    def show(self, row: Mapping[str, float]) -> None:
        """Show a finished round's metrics."""

    def note(self, text: str) -> None:
        """Show a line of text."""

    def stop(self) -> None:
        """Leave the last state on the screen."""


def make_progress() -> ProgressDisplay:
    """Choose the display that fits: a notebook's, a terminal's, or lines."""
    if in_notebook():
        return NotebookBar()
    # A command run from a notebook's cell has a terminal that cannot move its cursor.
    return LiveBar() if sys.stdout.isatty() and "JPY_PARENT_PID" not in os.environ else PlainLines()


class LoggedProgress:
    """Another display, whose notes and evaluated rounds also go to a log.

    Parameters
    ----------
    display : ProgressDisplay
        The other display.
    log : callable
        Writes one line to the log.
    """

    def __init__(self, display: ProgressDisplay, log: Callable[[str], None]) -> None:
        self._display = display
        self._log = log
        self.start = display.start
        self.stop = display.stop

    def show(self, row: Mapping[str, float]) -> None:
        """Show a finished round's metrics; log them if it was evaluated."""
        self._display.show(row)
        if has_evaluation(row):
            self._log(f"round {row['round']:.0f}  {describe(row)}")

    def note(self, text: str) -> None:
        """Show and log a line of text."""
        self._display.note(text)
        self._log(text)


class LiveBar:
    """A progress bar with the round's loss, and the latest evaluation and its round."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("round"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(),
        )
        self._evaluated = ""

    def start(self, finished: int, total: int) -> None:
        """Begin with `finished` of `total` rounds done."""
        self._task = self._progress.add_task("", total=total, completed=finished, metrics="")
        self._progress.start()

    def show(self, row: Mapping[str, float]) -> None:
        """Show a finished round's metrics."""
        if has_evaluation(row):
            self._evaluated = f"  in round {row['round']:.0f}: {describe(row, EVALUATED)}"
        trained = describe(row, TRAINED)
        self._progress.update(self._task, completed=row["round"], metrics=trained + self._evaluated)

    def note(self, text: str) -> None:
        """Show a line of text above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()


class NoProgress:
    """A display that shows nothing."""

    def start(self, finished: int, total: int) -> None:
        """Show nothing."""

    def show(self, row: Mapping[str, float]) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def stop(self) -> None:
        """Show nothing."""


class PlainLines:
    """A line every few seconds, and for the first and the last round."""

    def __init__(self) -> None:
        self._total = 0
        self._last_line = -_SECONDS_BETWEEN_LINES

    def start(self, finished: int, total: int) -> None:
        """Begin with `finished` of `total` rounds done."""
        self._total = total

    def show(self, row: Mapping[str, float]) -> None:
        """Print a finished round's metrics if a line is due."""
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES or row["round"] in (0, self._total):
            self._last_line = now
            self.note(f"round {row['round']:.0f}/{self._total}  {describe(row)}")

    def note(self, text: str) -> None:
        """Print a line of text."""
        print(text, flush=True)

    def stop(self) -> None:
        """Do nothing: there is nothing to close."""
