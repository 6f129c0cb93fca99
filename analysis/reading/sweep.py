"""Reading a sweep directory: a folder of run directories, named after the labels of their axes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.experiment import SEED_AXIS
from common.files import read_json
from common.sweep_files import SWEEP_FILE

_SEPARATOR = ","


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep, finished or not.

    Attributes
    ----------
    name : str
        Its labels, joined by commas.
    labels : Mapping[str, str]
        axis → label.
    path : pathlib.Path
        The run directory; runs with the same configuration share one.
    published : float or None
        The published number, in the table's unit.
    """

    name: str
    labels: Mapping[str, str]
    path: Path
    published: float | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it has a summary."""
        return (self.path / "summary.json").is_file()


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep directory.

    Attributes
    ----------
    path : pathlib.Path
        The directory.
    axes : Mapping[str, Sequence[str]]
        axis → labels, in order.
    runs : Sequence[SweepRun]
        All runs, in the order of their labels.
    metrics : Sequence[str]
        The metrics to show.
    """

    path: Path
    axes: Mapping[str, Sequence[str]]
    runs: Sequence[SweepRun]
    metrics: Sequence[str]

    @property
    def shown_axes(self) -> list[str]:
        """The axes for rows and columns: all but the seed's and, if there are several, those of one label."""
        names = [axis for axis in self.axes if axis != SEED_AXIS]
        several = [axis for axis in names if len(self.axes[axis]) > 1]
        return several or names

    def label(self, run: SweepRun) -> str:
        """Return the label of a run within its sweep: its labels of the shown axes, without the seed's.

        The runs of a sweep over seeds only are repetitions, and have the sweep's name.
        """
        labels = _SEPARATOR.join(run.labels[axis] for axis in self.shown_axes)
        return labels or (self.path.resolve().name if SEED_AXIS in self.axes else run.name)

    @property
    def finished(self) -> list[SweepRun]:
        """The finished runs, each directory once."""
        return list({run.path: run for run in self.runs if run.is_finished}.values())


def is_sweep(path: Path) -> bool:
    """Return whether a folder is a sweep, and not a run."""
    return (
        path.is_dir()
        and not (path / "config.toml").exists()
        and not (path / "summary.json").exists()
        and ((path / SWEEP_FILE).is_file() or bool(_run_directories(path)))
    )


def read_sweep(path: Path) -> Sweep:
    """Read a sweep directory.

    Without ``sweep.json``, as when runs were collected by hand, the axes are inferred from the folder names,
    and labels with numbers are sorted by them.

    Raises
    ------
    UserError
        If there are no runs, or the description is damaged.
    """
    if (path / SWEEP_FILE).is_file():
        return _described(path)
    names = [folder.name for folder in _run_directories(path)]
    if not names:
        raise UserError(f"{path} holds no runs")
    parts = [name.split(_SEPARATOR) for name in names]
    if len({len(labels) for labels in parts}) > 1:
        parts = [[name] for name in names]
    columns = [sorted(set(column), key=_natural) for column in zip(*parts, strict=True)]
    axes = {f"axis {number}": labels for number, labels in enumerate(columns, start=1)}
    runs = [
        SweepRun(name, dict(zip(axes, labels, strict=True)), path / name)
        for name, labels in zip(names, parts, strict=True)
    ]
    runs.sort(key=lambda run: [axes[axis].index(label) for axis, label in run.labels.items()])
    return Sweep(path, axes, runs, ["test_accuracy"])


def published_of(run: Path, metric: str) -> float | None:
    """Return the published number of a run of a sweep; None if there is none for this metric."""
    folder = run.parent
    if not (folder / SWEEP_FILE).is_file():
        return None
    sweep = _described(folder)
    numbers = {entry.published for entry in sweep.runs if entry.path == run and entry.published is not None}
    return numbers.pop() if len(numbers) == 1 and metric == sweep.metrics[0] else None


def _described(path: Path) -> Sweep:
    file = path / SWEEP_FILE
    content = read_json(file)
    try:
        axes = {str(axis): list(map(str, labels)) for axis, labels in content["axes"].items()}
        runs = [
            SweepRun(name, run["labels"], path / run["directory"], _number_or_none(run["published"]))
            for name, run in content["runs"].items()
        ]
        metrics = list(map(str, content["metrics"]))
        if not all(run.labels[axis] in labels for run in runs for axis, labels in axes.items()):
            raise ValueError("a run has a label that no axis has")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UserError(f"{file} is damaged: delete it, or run the sweep again") from None
    return Sweep(path, axes, runs, metrics)


def _number_or_none(value: Any) -> float | None:
    return None if value is None else float(value)


def _run_directories(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if (folder / "config.toml").is_file())


def _natural(label: str) -> list[tuple[int, float, str]]:
    """Return a sort key that puts j4 before j16, and labels without numbers first."""
    number = re.search(r"\d+(\.\d+)?", label)
    return [(1, float(number.group()), label)] if number else [(0, 0.0, label)]
