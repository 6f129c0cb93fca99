"""An experiment: overrides of the configuration, and axes that span a sweep of many runs."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from common.config import is_key
from common.config_values import settle_budget
from common.errors import UserError, nearest
from common.search.table import Search
from common.sections import Value

Overrides = Mapping[str, Value]

SEED_AXIS = "seed"
DEFAULT_METRICS = ("test_accuracy",)
# That of the clients' own models on their data, and of the global model on these data in runs without them.
OWN_ACCURACY = "personal_accuracy|federated_accuracy"
SEPARATOR = ","  # between labels
_MAX_RUNS, _LONGEST_NAME = 100_000, 200
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")


@dataclass(frozen=True)
class Point:
    """One combination of labels.

    Attributes
    ----------
    labels : Mapping[str, str]
        axis → label, in the order of the axes.
    overrides : Overrides
        The keys that the file, its axes and its cells set for this run.
    own : frozenset of str
        The keys that its labels and cells set; the others hold for all runs.
    """

    labels: Mapping[str, str]
    overrides: Overrides
    own: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The labels, joined by commas: the name of the run and of its directory."""
        return SEPARATOR.join(self.labels.values())


@dataclass(frozen=True)
class Experiment:
    """The content of an experiment file.

    Attributes
    ----------
    overrides : Overrides
        The overrides of every run.
    axes : Mapping[str, Mapping[str, Overrides]]
        axis → label → overrides; empty for a single run.
    cells : Sequence[tuple[tuple[str, ...], Overrides]]
        One label or pattern per axis, and the overrides of the combinations that match; later ones win.
    metrics : Sequence[str]
        Columns of ``metrics.csv`` that the table of a sweep shows.
    published : Sequence[tuple[tuple[str, ...], float]]
        Published results by labels or patterns, in the unit of the table (accuracies in per cent).
    search : Search, optional
        The search, instead of axes.
    """

    overrides: Overrides = field(default_factory=dict)
    axes: Mapping[str, Mapping[str, Overrides]] = field(default_factory=dict)
    cells: Sequence[tuple[tuple[str, ...], Overrides]] = ()
    metrics: Sequence[str] = DEFAULT_METRICS
    published: Sequence[tuple[tuple[str, ...], float]] = ()
    search: Search | None = None

    def points(self) -> Iterator[Point]:
        """Yield every combination of labels; the last axis changes fastest."""
        for labels in itertools.product(*self.axes.values()):
            layers = [self.axes[axis][label] for axis, label in zip(self.axes, labels, strict=True)]
            layers += [layer for pattern, layer in self.cells if _matches(pattern, labels)]
            own: dict[str, Value] = {}
            for layer in layers:
                own |= settle_budget(layer)
            yield Point(
                dict(zip(self.axes, labels, strict=True)), settle_budget(self.overrides) | own, frozenset(own)
            )

    def check_assignments(self, keys: Iterable[str], selection: "LabelFilter") -> None:
        """Refuse ``--set`` of a key that an axis sets: it would override all labels.

        Parameters
        ----------
        keys : iterable of str
            The keys that the command line sets.
        selection : LabelFilter
            The selected runs: labels of others are ignored.

        Raises
        ------
        UserError
            One line that names the key and the axis.
        """
        used = {axis: {p.labels[axis] for p in self.points() if p in selection} for axis in self.axes}
        for key in keys:
            for axis, labels in self.axes.items():
                setting = [name for name in used[axis] if key in settle_budget(labels[name])]
                if setting:
                    raise UserError(
                        f"--set {key}: the axis '{axis}' sets it ('{min(setting)}'), and its labels would no"
                        " longer say what ran: leave it out, edit the file, or select others with --only"
                    )

    def published_for(self, labels: Mapping[str, str]) -> float | None:
        """Return the published number of a combination of labels, if the file has one."""
        found = [value for pattern, value in self.published if _matches(pattern, tuple(labels.values()))]
        return found[-1] if found else None

    def with_axis(
        self, name: str, labels: Mapping[str, Overrides], published_label: str = "*"
    ) -> "Experiment":
        """Return the experiment with one more axis, which changes fastest.

        Published numbers are those of the label `published_label`.

        Raises
        ------
        UserError
            If there is such an axis, label or key already.
        """
        if name in self.axes:
            raise UserError(f"the experiment has an axis '{name}' already")
        axes = {**self.axes, name: labels}
        check_axes(axes, "the experiment")
        return replace(
            self,
            axes=axes,
            cells=[((*pattern, "*"), layer) for pattern, layer in self.cells],
            published=[((*pattern, published_label), value) for pattern, value in self.published],
        )

    def with_seeds(self, seeds: Sequence[int]) -> "Experiment":
        """Return the experiment with every run once per seed."""
        return self.with_axis(SEED_AXIS, {f"seed{seed}": {"seed": seed} for seed in seeds})


class LabelFilter:
    """A part of a sweep, selected by ``--only LABEL[,LABEL]``.

    Labels of one axis are alternatives; of different axes, all are required. Several selections are
    combined by "or".

    Parameters
    ----------
    texts : Sequence[str]
        The values of ``--only``; none selects everything.
    axes : Mapping[str, Mapping[str, Overrides]]
        The axes of the experiment.
    """

    def __init__(self, texts: Sequence[str], axes: Mapping[str, Mapping[str, Overrides]]) -> None:
        owner = {label: axis for axis, labels in axes.items() for label in labels}
        self._choices: list[dict[str, set[str]]] = []
        for text in texts:
            choice: dict[str, set[str]] = {}
            for label in (part.strip() for part in text.split(SEPARATOR)):
                if label not in owner:
                    raise UserError(f"--only: no axis has a label '{label}'{suggested(label, list(owner))}")
                choice.setdefault(owner[label], set()).add(label)
            self._choices.append(choice)

    def __contains__(self, point: Point) -> bool:
        return not self._choices or any(
            all(point.labels[axis] in labels for axis, labels in choice.items()) for choice in self._choices
        )


def check_axes(axes: Mapping[str, Mapping[str, Overrides]], source: str) -> None:
    """Refuse axes that do not make a sweep; `source` is where they are from.

    Raises
    ------
    UserError
        If one has no label, a label or key occurs twice, or there are too many runs.
    """
    axis_of_label: dict[str, str] = {}
    axis_of_key: dict[str, str] = {}
    for axis, labels in axes.items():
        if not labels:
            raise UserError(f"{source}: axis '{axis}' has no labels: give it tables [axes.{axis}.<label>]")
        for label, overrides in labels.items():
            if not _LABEL.fullmatch(label):
                raise UserError(
                    f"{source}: axis '{axis}' has a label '{label}': take letters, digits and . _ = + -"
                )
            if label in axis_of_label:
                raise UserError(
                    f"{source}: axes '{axis_of_label[label]}' and '{axis}' both have a label '{label}':"
                    " rename one"
                )
            axis_of_label[label] = axis
            for key in settle_budget(overrides):
                if not is_key(key) and is_key(f"{label}.{key}"):
                    raise UserError(
                        f"{source}: [axes.{axis}] sets {label}.{key} without a label:"
                        f" write [axes.{axis}.LABEL] above it"
                    )
                if axis_of_key.setdefault(key, axis) != axis:
                    raise UserError(
                        f"{source}: axes '{axis_of_key[key]}' and '{axis}' both set {key}:"
                        " leave it to one of them, or set it in [cells]"
                    )
                if key.startswith("run."):
                    raise UserError(
                        f"{source}: axis '{axis}' sets {key}, which a sweep decides: leave it out"
                    )
    seeds: dict[Value, str] = {}
    for label, overrides in axes.get(SEED_AXIS, {}).items():
        if "seed" in overrides and seeds.setdefault(overrides["seed"], label) != label:
            first = seeds[overrides["seed"]]
            if overrides == axes[SEED_AXIS][first]:
                raise UserError(
                    f"{source}: '{first}' and '{label}' of the axis '{SEED_AXIS}' are the same seed:"
                    " a repetition needs a seed of its own"
                )
    if axes:
        _check_number_of_runs(axes, source)


def _check_number_of_runs(axes: Mapping[str, Mapping[str, Overrides]], source: str) -> None:
    number = math.prod(map(len, axes.values()))
    if number > _MAX_RUNS:
        raise UserError(f"{source}: the axes make {number} runs, more than {_MAX_RUNS}: split the sweep")
    length = sum(max(map(len, labels)) + 1 for labels in axes.values()) - 1
    if length > _LONGEST_NAME:
        raise UserError(
            f"{source}: a run's folder is named after its labels, here by {length} characters: shorten them"
        )


def _matches(pattern: Sequence[str], labels: Sequence[str]) -> bool:
    return all(fnmatchcase(label, part) for label, part in zip(labels, pattern, strict=True))


def suggested(name: str, known: Sequence[str]) -> str:
    """Return the end of an error about an unknown name: the nearest one, and all there are."""
    return f"{nearest(name, known)} (there are: {', '.join(known)})"
