"""The runs that a report is about."""

import glob
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.comparison.costs import Groups, by_label, load_groups, with_seeds
from analysis.comparison.sweep_table import load_finished
from analysis.reading.run_directory import NoDataError
from analysis.reading.runs import Run, default_metric
from analysis.reading.sweep import Sweep, is_sweep, read_sweep
from common.errors import UserError
from common.request import Request, read_request


@dataclass(frozen=True)
class Reported:
    """Finished runs, seen through one metric.

    Attributes
    ----------
    title : str
        What the report is called.
    metric : str
        A column of ``metrics.csv``.
    groups : Groups
        Label and repetitions of each configuration.
    sweep : Sweep or None
        The sweep, if the report is about one and nothing else.
    published : dict
        label → published number, in per cent for an accuracy.
    requests : list of Request
        What was asked for, by directory.
    missing : list of str
        The runs that have not finished.
    """

    title: str
    metric: str
    groups: Groups
    sweep: Sweep | None = None
    published: dict[str, float] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        """All runs."""
        return [run for _, runs in self.groups for run in runs]

    @property
    def single(self) -> Run | None:
        """The run, if it is the only one, and no sweep's."""
        return self.runs[0] if len(self.runs) == 1 and self.sweep is None else None


def read_reported(paths: Sequence[Path], metric: str | None = None) -> Reported:
    """Read runs and sweeps; of several, those that have not finished are left out with a line.

    Raises
    ------
    UserError
        If none has finished, or one is no run directory or damaged.
    """
    directories = list(dict.fromkeys(found for path in paths for found in _matches(path)))
    requests = list(dict.fromkeys(map(_request, directories)))
    if len(directories) == 1 and is_sweep(directories[0]):
        return _of_sweep(read_sweep(directories[0]), metric, requests)
    missing = [path for path in directories if _is_unfinished(path)]
    finished = [path for path in directories if path not in missing]
    if not finished:
        raise NoDataError(f"{directories[0]}: the run has not finished yet: it has no summary.json")
    for path in missing:
        warnings.warn(f"{path} has not finished and is left out", stacklevel=2)
    groups = load_groups(finished, metric or default_metric(finished))
    names = [path.resolve().name for path in finished]
    title = names[0] if len(names) == 1 else f"{len(names)} experiments: {', '.join(names[:4])}"
    title += ", …" if len(names) > 4 else ""
    left_out = [path.name for path in missing]
    name = str(groups[0][1][0].curve.name)
    return Reported(title, name, groups, requests=requests, missing=left_out)


def _of_sweep(sweep: Sweep, metric: str | None, requests: list[Request]) -> Reported:
    loaded = load_finished(sweep, [metric] if metric else sweep.metrics)
    shown, runs = next(iter(loaded.items()))
    found = by_label(sweep, runs)
    numbers = {sweep.label(entry): entry.published for entry in sweep.runs if shown == sweep.metrics[0]}
    published = {
        with_seeds(label, found[label]): number
        for label, number in numbers.items()
        if label in found and number is not None
    }
    groups = [(with_seeds(label, repetitions), repetitions) for label, repetitions in found.items()]
    missing = [run.name for run in sweep.runs if not run.is_finished]
    return Reported(sweep.path.resolve().name, shown, groups, sweep, published, requests, missing)


def _matches(path: Path) -> list[Path]:
    """Return a directory, or those that a pattern stands for where the shell has left it as it is."""
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = [Path(name) for name in sorted(glob.glob(str(path))) if Path(name).is_dir()]
    if not found:
        raise UserError(f"nothing matches {path}")
    return found


def _request(directory: Path) -> Request:
    """Return what was asked of a run; of one that belongs to a sweep, what was asked of that."""
    request = read_request(directory)
    if not request.commands and (directory.parent / "sweep.json").is_file():
        return read_request(directory.parent)
    return request


def _is_unfinished(path: Path) -> bool:
    """Whether a folder is that of a run without an end; a foreign one is an error."""
    if is_sweep(path) or (path / "summary.json").exists():
        return False
    if not path.is_dir():
        raise UserError(f"there is no run directory {path}")
    if not (path / "config.toml").is_file():
        raise UserError(f"{path} is no run directory and no sweep: it has no config.toml and no summary.json")
    return True
