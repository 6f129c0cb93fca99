"""Parses experiment files (``common.experiment`` says what they make).

```toml
rounds = 2000                       # every run
[axes.split.iid]                    # axis "split", label "iid": overrides of the runs that have it
partition.name = "iid"
[axes.steps.j8]
rounds = 1000
local.steps = 8
[cells."iid,j8"]                    # overrides of one combination; '*' stands for any label
optimizer.learning-rate = 0.05
[report]                            # what the table shows
metrics = ["test_accuracy"]
[report.published]                  # the numbers to compare with, in the table's unit
"iid,j8" = 43.81
```

A list below ``[axes]`` is an axis of one key: ``[axes]`` with ``partition.alpha = [0.1, 1.0]`` is the axis
"partition.alpha" with the labels "alpha=0.1" and "alpha=1.0".
"""

import contextlib
import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from common.config import is_key, missing_key
from common.config_values import RUN_OPTIONS
from common.defaults import default_values, flatten
from common.errors import UserError, nearest, shown
from common.experiment import (
    DEFAULT_METRICS,
    SEPARATOR,
    Experiment,
    Overrides,
    check_axes,
    suggested,
)
from common.reading import parse_toml_tables
from common.search.table import parse_search

_LARGEST = 1e300  # of a published number
_METRIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+|-]*")
_NAMED_KEY = re.compile(r"(?:unknown key )?'?([a-z0-9-]+(?:\.[A-Za-z0-9_-]+)*)")  # of an error, at its start


def parse_experiment(text: str, source: str) -> Experiment:
    """Parse an experiment file; `source` names it in errors.

    Raises
    ------
    UserError
        One line: no valid TOML, an axis without labels, a key that two axes set, an unknown label.
    """
    content = parse_toml_tables(text, source)
    search_table = content.pop("search", None)
    if content.get("axes") == {}:
        raise UserError(
            f"{source}: [axes] is empty: write [axes.NAME.LABEL] and keys below it, or leave it out"
        )
    tables = {
        name: _table(content.pop(name, {}), f"{source}: [{name}]") for name in ("axes", "cells", "report")
    }
    axes: dict[str, dict[str, Overrides]] = {}
    for axis, labels in tables["axes"].items():
        leaves = dict(_leaves(axis, labels))
        if leaves and all(isinstance(values, list) for values in leaves.values()):
            if twice := leaves.keys() & axes.keys():
                raise UserError(f"{source}: [axes] has two lists for {min(twice)}: leave one out")
            axes |= {key: _axis_of_values(key, values, source) for key, values in leaves.items()}
            continue
        axes[axis] = {
            label: _flat(overrides, f"{source}: [axes.{axis}.{label}]")
            for label, overrides in _table(labels, f"{source}: [axes.{axis}]").items()
        }
    check_axes(axes, source)
    cells = [
        (_pattern(labels, axes, source), _flat(overrides, f'{source}: [cells."{labels}"]'))
        for labels, overrides in tables["cells"].items()
    ]
    for _, overrides in cells:
        _check_run_keys(overrides, source)
    metrics, published = _parse_report(tables["report"], axes, source)
    if lists := [
        key for name, value in content.items() for key, v in _leaves(name, value) if isinstance(v, list)
    ]:
        raise UserError(f"{source}: {lists[0]} has a list: to run each of its values, write it below [axes]")
    overrides = _overrides(flatten(content, source), source)
    if search_table is None:
        return Experiment(overrides, axes, cells, metrics, published)
    for name in ("axes", "cells"):
        if tables[name]:
            raise UserError(f"{source}: [{name}] and [search] cannot be combined: leave one of them out")
    search = parse_search(search_table, overrides, source)
    return Experiment(overrides, metrics=metrics, published=published, search=search)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values below a key that are no tables, by their dotted keys."""
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, inner in value.items():
        yield from _leaves(f"{key}.{name}", inner)


def _axis_of_values(key: str, values: Sequence[Any], source: str) -> dict[str, Overrides]:
    """Return an axis with a label for each value of one key."""
    if not is_key(key):
        raise UserError(
            f"{source}: [axes] has a list for '{key}', which is not a key{nearest(key, default_values())}"
            " (a list has the values of one key; [axes.NAME.LABEL] has keys below it)"
        )
    axis: dict[str, Overrides] = {}
    for value in values:
        if not isinstance(value, bool | int | float | str):
            raise UserError(
                f"{source}: [axes] has for {key} the value {shown(value)}: it must be a single one"
            )
        label = value if isinstance(value, str) else f"{key.rpartition('.')[2]}={json.dumps(value)}"
        if label in axis:
            raise UserError(f"{source}: [axes] has {shown(value)} twice for {key}: leave one out")
        axis[label] = {key: value}
    return axis


@contextlib.contextmanager
def naming_file(source: Path | None, overrides: Overrides, given: Container[str]) -> Iterator[None]:
    """Add the file to an error about a key that only the file sets.

    Parameters
    ----------
    source : Path or None
        The experiment file, if there is one.
    overrides : Overrides
        What it sets.
    given : container of str
        The keys that ``--set`` sets.
    """
    try:
        yield
    except UserError as error:
        named = _NAMED_KEY.match(str(error))
        key = getattr(error, "key", "") or (named[1] if named else "")
        if source is None or key not in overrides or key in given:
            raise
        raise UserError(f"{source}: {error}") from None


def _overrides(overrides: Overrides, source: str) -> Overrides:
    """Return the overrides of every run, without the keys of a ``config.toml`` on where that run ran."""
    if not missing_key(overrides):
        return {key: value for key, value in overrides.items() if not key.startswith("run.")}
    _check_run_keys(overrides, source)
    return overrides


def _check_run_keys(overrides: Overrides, source: str) -> None:
    for key, option in RUN_OPTIONS.items():
        if key in overrides:
            raise UserError(f"{source}: {key} is not for experiment files: use {option}")


def _parse_report(
    report: Mapping[str, Any], axes: Mapping[str, Mapping[str, Overrides]], source: str
) -> tuple[Sequence[str], Sequence[tuple[tuple[str, ...], float]]]:
    known = ("metrics", "published")
    for key in report:
        if key not in known:
            raise UserError(f"{source}: [report] has no '{key}'{suggested(key, known)}")
    metrics = report.get("metrics", list(DEFAULT_METRICS))
    if not isinstance(metrics, list) or not metrics or not all(map(_is_metric, metrics)):
        raise UserError(
            f"{source}: report.metrics must be a list of columns of metrics.csv, not {shown(metrics)}"
        )
    published = []
    for labels, value in _table(report.get("published", {}), f"{source}: [report.published]").items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise UserError(f"{source}: report.published: '{labels}' must be a number, not {shown(value)}")
        published.append((_pattern(labels, axes, source), float(value)))
    return metrics, published


def _is_metric(name: object) -> bool:
    """Return whether a name may be a column, or alternatives; pictures are named after it."""
    return isinstance(name, str) and _METRIC.fullmatch(name) is not None


def _pattern(text: str, axes: Mapping[str, Mapping[str, Overrides]], source: str) -> tuple[str, ...]:
    """Split ``"iid,j*"`` into one pattern per axis, each of which must match a label."""
    pattern = tuple(part.strip() for part in text.split(SEPARATOR))
    if len(pattern) != len(axes):
        raise UserError(
            f"{source}: '{text}' must name one label, or *, of each axis ({', '.join(axes) or 'none'})"
        )
    for part, (axis, labels) in zip(pattern, axes.items(), strict=True):
        if not any(fnmatchcase(label, part) for label in labels):
            raise UserError(
                f"{source}: '{text}': axis '{axis}' has no label '{part}'{suggested(part, list(labels))}"
            )
    return pattern


def _flat(value: Any, place: str) -> Overrides:
    return flatten(_table(value, place), place)


def _table(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        hint = ""
        if "[axes." in place:
            hint = "; values are written as [axes.NAME.LABEL] and below it the keys, or as a list of one key"
        raise UserError(f"{place} must be a table, not {shown(value)}{hint}")
    return value
