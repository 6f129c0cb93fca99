"""The runs of a queue: the command of each, and its progress by its files."""

import csv
import hashlib
import json
import math
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.checkpoint_files import FOLDER, committed_rounds
from common.config import Config
from common.config_values import merge, to_toml
from common.errors import UserError
from common.experiment import Experiment, LabelFilter, Overrides
from common.experiment_file import parse_experiment
from common.files import read_text
from common.sweep_files import SWEEP_FILE
from runtimes.queue.file import Entry, GiveUp, QueueFile

_TIMED_ROUNDS = 50  # whose mean time predicts the remaining time


@dataclass(frozen=True)
class Run:
    """One run of an entry, in its own process.

    Attributes
    ----------
    entry_name : str
        The name of its entry.
    entry : Entry
        The entry.
    labels : str
        The labels of a run of a sweep; empty for an entry of a single run.
    overrides : Overrides
        The overrides of the experiment file and the entry.
    directory : Path
        The ``--run-dir`` of its entry.
    """

    entry_name: str
    entry: Entry
    labels: str
    overrides: Overrides
    directory: Path

    @property
    def name(self) -> str:
        """Entry and labels."""
        return f"{self.entry_name}/{self.labels}" if self.labels else self.entry_name

    @cached_property
    def key(self) -> str:
        """Hash of the request: the record of a run is valid as long as this does not change."""
        rule = self.entry.give_up.model_dump() if self.entry.give_up else None
        content = [dict(self.overrides), self.entry.rounds_scale, str(self.entry.code_directory), rule]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """The run directory; identical runs of a sweep share one, as ``sweep.json`` states."""
        if not self.labels:
            return self.directory
        try:
            content = json.loads((self.directory / SWEEP_FILE).read_text(encoding="utf-8"))
            return self.directory / str(content["runs"][self.labels]["directory"])
        except (OSError, ValueError, KeyError, TypeError):
            return self.directory / self.labels

    def command(self) -> list[str]:
        """Return the command line that starts the run or, if it is on disk already, resumes it."""
        entry = self.entry
        command = [sys.executable, "run_simulation.py", *([entry.experiment] if entry.experiment else [])]
        command += ["--run-dir", str(self.directory)]
        if self.labels:
            command += ["--only", self.labels]
        if entry.seeds:
            command += ["--seeds", ",".join(map(str, entry.seeds))]
        if entry.rounds_scale is not None:
            command += ["--rounds-scale", repr(entry.rounds_scale)]
        settings = dict(entry.overrides)
        if entry.checkpoint_minutes:
            settings["checkpoint.minutes"] = entry.checkpoint_minutes
        for key, value in settings.items():
            command += ["--set", to_toml({key: value}).rstrip("\n").replace(" = ", "=", 1)]
        began = self.directory if self.labels else self.directory / "config.toml"
        return [*command, "--resume"] if began.exists() else command


def runs_of(file: QueueFile) -> list[Run]:
    """Return all runs of a queue, by descending priority.

    Raises
    ------
    UserError
        One line that names the entry: no such experiment file, label or key, or a value of the wrong type.
    """
    return [run for name, entry in file.ordered() for run in _runs_of_entry(name, entry, file.path / name)]


def _runs_of_entry(name: str, entry: Entry, directory: Path) -> Iterator[Run]:
    try:
        experiment = _experiment(entry)
        selection = LabelFilter(entry.only, experiment.axes)
        points = [point for point in experiment.points() if point in selection]
        if not points:
            raise UserError(f"no run has all of the labels {', '.join(entry.only)}")
        if not entry.code:  # another checkout may have other rules and keys
            experiment.check_assignments(entry.overrides, selection)
        for point in points:
            overrides = {**point.overrides, **entry.overrides}
            if not entry.code:
                Config.from_flat(merge(point.overrides, entry.overrides))
            yield Run(name, entry, point.name, overrides, directory)
    except UserError as error:
        raise UserError(f"entries.{name}: {error}") from None


def _experiment(entry: Entry) -> Experiment:
    if not (entry.code_directory / "run_simulation.py").is_file():
        raise UserError(f"code: there is no run_simulation.py in {entry.code_directory}")
    experiment = Experiment()
    if entry.experiment:
        text = read_text(entry.code_directory / entry.experiment, "experiment")
        experiment = parse_experiment(text, entry.experiment)
    return experiment.with_seeds(entry.seeds) if entry.seeds else experiment


class Progress:
    """The progress of a run, by the files of its run directory.

    Parameters
    ----------
    path : Path
        The run directory, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.rounds = _configured_rounds(path / "config.toml")
        self.rows = _rows(path / "metrics.csv")
        self.round = int(self.rows[-1]["round"]) if self.rows else 0
        self._path = path

    @property
    def has_begun(self) -> bool:
        """Whether the run has started."""
        return (self._path / "config.toml").exists()

    @property
    def committed_round(self) -> int:
        """The round of the last checkpoint; -1 if there is none."""
        return max(committed_rounds(self._path / FOLDER), default=-1)

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last round, at the pace of recent rounds."""
        seconds = [float(row["seconds"]) for row in self.rows[-_TIMED_ROUNDS:] if row.get("seconds")]
        if not seconds or not self.rounds:
            return None
        return sum(seconds) / len(seconds) * max(0, self.rounds - self.round)

    def reason_to_give_up(self, rule: GiveUp) -> str:
        """Return why the run is not worth continuing, or an empty text."""
        judged_from = rule.after * self.rounds
        known = [
            (int(row["round"]), float(row[rule.metric]))
            for row in self.rows
            if row.get(rule.metric) and int(row["round"]) > 0
        ]
        if not self.rounds or not known or known[-1][0] < judged_from:
            return ""
        values = [value for _, value in known if not math.isnan(value)]
        if rule.below is not None and not any(value >= rule.below for value in values):
            best = f"at most {max(values):.4g}, below {rule.below:g}" if values else "never a number"
        elif rule.above is not None and not any(value <= rule.above for value in values):
            best = f"at least {min(values):.4g}, above {rule.above:g}" if values else "never a number"
        else:
            return ""
        return f"{rule.metric} {best} after {self.round} of {self.rounds} rounds"

    def result(self) -> str:
        """Return the final accuracy of a finished run; empty if its summary has none."""
        try:
            summary: dict[str, Any] = json.loads((self._path / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        for metric in ("test_accuracy", "test_accuracy_mean", "personal_accuracy", "federated_accuracy"):
            value = summary.get(f"final.{metric}")
            if isinstance(value, float):
                return f"{metric.replace('_', ' ')} {value:.2%}"
        return ""


def _configured_rounds(path: Path) -> int:
    try:
        return int(tomllib.loads(path.read_text(encoding="utf-8"))["rounds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _rows(path: Path) -> list[dict[str, str]]:
    """Read the complete rows of ``metrics.csv``, without one that is being written."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(whole.splitlines()) if (row["round"] or "").isdigit()]
