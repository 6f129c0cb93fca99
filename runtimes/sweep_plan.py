"""The runs of a sweep: which configurations an experiment file and the command line make, before any runs."""

import argparse
import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clients._configuration import complete
from common.config import Config
from common.config_values import read_assignments, settle_budget
from common.errors import UserError
from common.experiment import OWN_ACCURACY, Experiment, LabelFilter, Overrides, Point
from common.sections import Value
from runtimes.comparators import AS_GIVEN, COMPARATORS
from runtimes.run import compared, configure
from runtimes.shared_keys import SharedKeys

COMPARATOR_AXIS = "comparator"


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes
    ----------
    point : Point
        Its labels and overrides.
    config : Config
        Its validated configuration, run directory included.
    same_as : str
        Name of the earlier run with the same configuration, which is run instead; empty if there is none.
    assignments : Overrides
        The overrides of the command line.
    """

    point: Point
    config: Config
    same_as: str
    assignments: Overrides = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The labels, joined by commas."""
        return self.point.name

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self.config.run.directory)


def add_axes(experiment: Experiment, options: argparse.Namespace) -> Experiment:
    """Add the axes requested on the command line: comparators, then seeds."""
    if options.comparators:
        experiment = experiment.with_axis(COMPARATOR_AXIS, {name: {} for name in COMPARATORS}, AS_GIVEN)
        if OWN_ACCURACY not in experiment.metrics:  # only there does the lower bound show
            experiment = replace(experiment, metrics=[*experiment.metrics, OWN_ACCURACY])
    if options.seeds is not None:
        seeds = parse_seeds(options.seeds)
        if len(seeds) == 1 and seeds[0] > 1:
            warnings.warn(
                f"--seeds {seeds[0]} is one run, of the seed {seeds[0]}: several are --seeds 0,1,...",
                stacklevel=1,
            )
        experiment = experiment.with_seeds(seeds)
    return experiment


def parse_seeds(text: str) -> list[int]:
    """Return the seeds of ``--seeds``.

    Raises
    ------
    UserError
        If one is not an integer, or given twice.
    """
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds takes integers separated by commas, not '{text}'") from None
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise UserError(f"--seeds names {twice[0]} twice: a repetition needs a seed of its own")
    return seeds


def plan(
    experiment: Experiment, options: argparse.Namespace, directory: Path, selection: LabelFilter | None = None
) -> list[PlannedRun]:
    """Validate the configuration of every run and find duplicates.

    A run that is not selected and not compatible with the command line is left out.

    Raises
    ------
    UserError
        One line that begins with the name of the run, or names the axis that ``--set`` would override.
    """
    selection = selection or LabelFilter((), experiment.axes)
    assignments = read_assignments(options.set)
    given = {**settle_budget(assignments), **({"runtime.name": options.runtime} if options.runtime else {})}
    experiment.check_assignments(given, selection)
    shared = SharedKeys(settle_budget(experiment.overrides), assignments)
    planned: list[PlannedRun] = []
    first: dict[tuple[tuple[str, Value], ...], str] = {}
    for point in experiment.points():
        with contextlib.ExitStack() as stack:
            is_selected = point in selection
            stack.enter_context(naming(point.name) if is_selected else contextlib.suppress(UserError))

            def configured(overrides: Overrides, sets: Overrides, point: Point = point) -> Config:
                config = configure(options, overrides, sets, str(directory / point.name))
                comparator = point.labels.get(COMPARATOR_AXIS)
                return compared(config, comparator) if comparator in COMPARATORS else config

            config = complete(shared.configure(point, configured, is_selected))
            original = first.setdefault(identity(config), point.name)
            planned.append(PlannedRun(point, config, original if original != point.name else "", assignments))
    shared.check_used()
    _check_distinct([item for item in planned if item.point in selection], given)
    return planned


def identity(config: Config) -> tuple[tuple[str, Value], ...]:
    """Return the identity of a run: of two runs with the same one, only one is run."""
    return tuple(sorted((key, value) for key, value in config.flat().items() if not key.startswith("run.")))


def _check_distinct(runs: Sequence[PlannedRun], given: Overrides) -> None:
    """Refuse a ``--set`` that removes every difference between two cells of the file."""
    by_name = {item.name: item for item in runs}
    for item in runs:
        other = by_name.get(item.same_as)
        if other is None or not (overruled := sorted(item.point.own & given.keys())):
            continue
        if settle_budget(item.point.overrides) != settle_budget(other.point.overrides):
            raise UserError(
                f"--set {overruled[0]} makes the runs '{other.name}' and '{item.name}' the same, which differ"
                " in it: leave it out, or edit the file"
            )


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Add to an error which run it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"run '{name}': {error}") from None
