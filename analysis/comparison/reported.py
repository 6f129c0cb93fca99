"""The runs of a report."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analysis.comparison.groups import Groups, by_label, load_groups, published_numbers, with_seeds, without
from analysis.comparison.sweep_table import load_finished, shown_metrics
from analysis.reading.runs import Run, default_metric
from analysis.reading.selection import chosen, unfinished_of
from analysis.reading.sweep import Sweep, is_sweep, read_sweep
from common.errors import UserError
from common.request import Request, read_request
from common.sweep_files import SWEEP_FILE


@dataclass(frozen=True)
class Reported:
    """Finished runs, loaded with one metric.

    Attributes
    ----------
    title : str
        The title of the report.
    metric : str
        A column of ``metrics.csv``.
    groups : Groups
        Label and repetitions of each configuration.
    sweep : Sweep or None
        The sweep, if the report covers exactly one and nothing else.
    published : dict
        label → published number, in per cent for an accuracy.
    requests : list of Request
        The requests behind the runs, by directory.
    missing : list of str
        The runs that have not finished.
    lacking : list of str
        The finished runs that have not measured the metric, or whose files are damaged.
    """

    title: str
    metric: str
    groups: Groups
    sweep: Sweep | None = None
    published: dict[str, float] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[Run]:
        """All runs."""
        return [run for _, runs in self.groups for run in runs]

    @property
    def single(self) -> Run | None:
        """The run, if it is the only one and not part of a sweep."""
        return self.runs[0] if len(self.runs) == 1 and self.sweep is None else None


def read_reported(paths: Sequence[Path], metric: str | None = None) -> Reported:
    """Read runs and sweeps; unfinished ones are skipped with a warning.

    Raises
    ------
    UserError
        If none has finished, or the only one is damaged or not a run directory.
    """
    finished = chosen(paths)
    requests = _requests(finished)
    if len(finished) == 1 and is_sweep(finished[0]):
        return _of_sweep(read_sweep(finished[0]), metric, requests)
    groups = load_groups(finished, metric or default_metric(finished))
    names = [path.resolve().name for path in finished]
    title = names[0] if len(names) == 1 else f"{len(names)} experiments: {', '.join(names[:4])}"
    title += ", …" if len(names) > 4 else ""
    name = str(groups[0][1][0].curve.name)
    published, lacking = published_numbers(groups), without(groups, finished)
    missing = [name for name in unfinished_of(paths) if name not in names]
    return Reported(title, name, groups, None, published, requests, missing, lacking)


def _of_sweep(sweep: Sweep, metric: str | None, requests: list[Request]) -> Reported:
    loaded = load_finished(sweep, [metric] if metric else shown_metrics(sweep))
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
    lacking = without(groups, [sweep.path])
    return Reported(sweep.path.resolve().name, shown, groups, sweep, published, requests, missing, lacking)


def _requests(directories: Sequence[Path]) -> list[Request]:
    """Return what was asked; a damaged file is only a warning, since nothing else needs it."""
    found: dict[Request, None] = {}
    for directory in directories:
        try:
            found[_request(directory)] = None
        except UserError as error:
            warnings.warn(f"the report does not say what was asked of {directory}: {error}", stacklevel=2)
    return list(found)


def _request(directory: Path) -> Request:
    """Return what was asked of a run, or of the sweep that it belongs to."""
    request = read_request(directory)
    if not request.commands and (directory.parent / SWEEP_FILE).is_file():
        return read_request(directory.parent)
    return request
