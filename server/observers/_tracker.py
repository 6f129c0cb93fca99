"""Observers that hand the rows of ``metrics.csv`` to a program for tracking experiments."""

import csv
import importlib.util
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from common.config import Config
from common.errors import UnknownNameError, UserError, described
from common.files import read_json, read_text
from common.plugin_kinds import OBSERVER, TRACKER, Kind
from common.plugins import find_subclass, names, unknown
from common.reading import comma_list
from common.sections import Value
from server.observers._observer import Observer, Round

FOLDER = "tracking"
_STEP = "round"


class Tracker(Observer):
    """Opens a tracked run, writes a row per round to it, and closes it; subclasses say how.

    What is tracked is what ``metrics.csv`` says, and nothing of it is checkpointed: a run that is resumed, or
    tracked from its middle on, first writes the rows that the file has. So ``open`` begins the tracked run
    again, or ``write`` leaves out what is there, and no step is there twice. A tracker that fails is a
    remark; the run continues without it.

    Attributes
    ----------
    PACKAGES : tuple of str
        The packages that it needs.
    EXTRA : str
        The extra of this project that brings them.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ()
    EXTRA: ClassVar[str] = ""

    _is_open = False
    _is_off = False
    _is_complete = False

    def open(self, folder: Path, title: str, config: Mapping[str, Value]) -> None:
        """Open the tracked run.

        Parameters
        ----------
        folder : Path
            Its own folder in the run directory, which is there.
        title : str
            What a person calls the run: the last two folders of its path.
        config : Mapping[str, Value]
            The configuration.
        """

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a round; 0 is the initial model."""
        raise NotImplementedError

    def close(self, is_complete: bool) -> None:
        """Close the tracked run, which has come to its end or was stopped before."""

    def on_round(self, current: Round) -> None:
        """Write the row, after those before it if the tracked run is not open yet."""
        self._is_complete = current.is_last
        self._guarded(lambda: self._on_row(current.number, numbers(_as_written(current.row))))

    def end(self) -> None:
        """Close the tracked run; one that had no round of its own is written as it is."""
        if not self._is_open and (rows := self._rows()):
            self._is_complete = max(rows) >= self.parts.config.rounds or self._was_stopped()
            self._guarded(lambda: self._begin(rows))
        if self._is_open:
            self._guarded(lambda: self.close(self._is_complete))

    def _on_row(self, number: int, values: Mapping[str, float]) -> None:
        if not self._is_open:
            self._begin({step: row for step, row in self._rows().items() if step < number})
        self.write(number, values)

    def _begin(self, rows: Mapping[int, Mapping[str, float]]) -> None:
        path = self.run.run_directory.path
        folder = path / FOLDER / type(self).__module__.rpartition(".")[2]
        folder.mkdir(parents=True, exist_ok=True)
        title = "/".join(path.absolute().parts[-2:])
        self.open(folder, title, self.run.run_directory.all_values)
        self._is_open = True
        for step, values in rows.items():
            self.write(step, values)

    def _rows(self) -> dict[int, dict[str, float]]:
        """Return what ``metrics.csv`` has: that of the checkpoint where the run was resumed."""
        path = self.run.run_directory.path / "metrics.csv"
        rows = csv.DictReader(read_text(path).splitlines()) if path.is_file() else ()
        return {int(row[_STEP]): numbers(row) for row in rows}

    def _was_stopped(self) -> bool:
        """Return whether the run had come to an early end before it was resumed."""
        summary = self.run.run_directory.path / "summary.json"
        return summary.is_file() and bool(read_json(summary).get("stopped"))

    def _guarded(self, act: Callable[[], None]) -> None:
        if self._is_off:
            return
        try:
            act()
        except Exception as error:  # whatever another program raises: a full disk, a locked data base
            self._is_off = True
            name = type(self).__module__.rpartition(".")[2]
            self.run.progress.note(f"tracking '{name}' failed, the run continues without: {described(error)}")


def _as_written(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the file has it, so that a resumed run tracks the same numbers."""
    return {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the columns of a row that hold finite numbers, without that of the round."""
    found: dict[str, float] = {}
    for key, value in row.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if key != _STEP and math.isfinite(number):
            found[key] = number
    return found


def find_trackers(config: Config) -> dict[str, type[Tracker]]:
    """Return name → class of what ``tracking`` names; nothing is imported of the programs themselves.

    Raises
    ------
    UserError
        If one is not a tracker, or needs a package that is missing; if ``observers`` names a tracker.
    """
    for name in comma_list("observers", config.observers):
        if issubclass(_find(OBSERVER, name), Tracker):
            raise UserError(f"observers: '{name}' tracks the run: name it in the key tracking")
    found: dict[str, type[Tracker]] = {}
    for name in comma_list("tracking", config.tracking):
        cls = _find(TRACKER, name)
        if not issubclass(cls, Tracker):
            raise UserError(f"tracking: '{name}' tracks nothing: name it in the key observers")
        if missing := [package for package in cls.PACKAGES if importlib.util.find_spec(package) is None]:
            how = f"pip install '.[{cls.EXTRA}]'" if cls.EXTRA else f"pip install {' '.join(missing)}"
            raise UserError(
                f"tracking: '{name}' needs the package {missing[0]}, which is not installed: {how}, or leave"
                f" '{name}' out"
            )
        found[name] = cls
    return found


def _find(kind: Kind, name: str) -> type[Observer]:
    """Return the class of a name; the error for one that there is not lists trackers or else the others."""
    try:
        return find_subclass(kind, name, Observer)
    except UnknownNameError:
        if ":" in name:
            raise
        known = [other for other in names(OBSERVER) if _is_tracker(other) == (kind is TRACKER)]
        raise unknown(kind, name, known) from None


def _is_tracker(name: str) -> bool:
    try:
        return issubclass(find_subclass(OBSERVER, name, Observer), Tracker)
    except UserError:  # a user's file that cannot be imported
        return False
