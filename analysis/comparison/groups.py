"""Runs grouped by configuration: label, repetitions and published number of each."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from analysis.command import for_each
from analysis.comparison.sweep_table import load_finished
from analysis.reading.run_directory import NoDataError
from analysis.reading.runs import (
    SEED_KEY,
    Run,
    data_remark,
    group_seeds,
    load_run,
    telling_keys,
    without_repeats,
)
from analysis.reading.sweep import Sweep, is_sweep, published_of, read_sweep
from common.errors import UserError

Groups = list[tuple[str, list[Run]]]
"""Label and repetitions of each configuration."""


def by_configuration(runs: Sequence[Run]) -> Groups:
    """Group repetitions with other seeds, labelled by the keys in which configurations differ."""
    keys = [key for key in telling_keys(runs) if key != SEED_KEY]
    # A plug-in folder comes with a method or a model, which is the better label.
    keys = [key for key in keys if key != "plugins" or len(keys) == 1]
    return [(run_label(group, keys), group) for group in group_seeds(runs)]


def load_groups(directories: Sequence[Path], metric: str) -> Groups:
    """Return the runs of directories, labelled by their sweep or else by the keys in which they differ.

    Runs that lack the metric or are damaged are skipped with a warning if others remain.

    Raises
    ------
    UserError
        If nothing remains.
    """
    groups: Groups = []
    alone: list[Run] = []

    def load(directory: Path) -> None:
        if not is_sweep(directory):
            alone.append(load_run(directory, metric))
            return
        name = directory.resolve().name
        prefix = f"{name}: " if len(directories) > 1 else ""
        sweep = read_sweep(directory)
        loaded = load_finished(sweep, [metric]).get(metric, {})
        if not loaded:  # the sweep has other metrics only
            raise NoDataError(f"{directory}: no run has a value of {metric!r}")
        found = by_label(sweep, loaded)
        if lacking := [entry.name for entry in sweep.finished if entry.name not in loaded]:
            warnings.warn(f"{directory}: without {metric}: {', '.join(lacking)}", stacklevel=2)
        for label, runs in found.items():  # a sweep over seeds only already has the sweep's name
            groups.append((with_seeds(label if label == name else f"{prefix}{label}", runs), runs))

    for_each(directories, load)
    groups += by_configuration(without_repeats(alone)) if alone else []
    return groups


def by_label(sweep: Sweep, loaded: Mapping[str, Run]) -> dict[str, list[Run]]:
    """Return label → runs of a sweep, each run once; `loaded` maps names to runs."""
    groups: dict[str, dict[Path, Run]] = {}
    for entry in sweep.runs:
        if entry.name in loaded:
            groups.setdefault(sweep.label(entry), {})[entry.path] = loaded[entry.name]
    return {label: list(runs.values()) for label, runs in groups.items()}


def with_seeds(label: str, runs: Sequence[Run]) -> str:
    """Return the label with the number of repetitions, if there are several."""
    are_seeds = len({run.config.get(SEED_KEY) for run in runs}) == len(runs)
    return f"{label} ({len(runs)} {'seeds' if are_seeds else 'runs'})" if len(runs) > 1 else label


def without_runs(groups: Groups, paths: Collection[Path]) -> Groups:
    """Return the groups without some runs, with the counts in their labels updated."""
    found: Groups = []
    for label, runs in groups:
        if rest := [run for run in runs if run.path not in paths]:
            found.append((with_seeds(label.removesuffix(with_seeds("", runs)), rest), rest))
    return found


def warn_of_data(groups: Groups, directories: Sequence[Path]) -> None:
    """Report if runs have different data, unless they are of one sweep, whose labels show it."""
    remark = data_remark([run for _, runs in groups for run in runs])
    if remark and not (len(directories) == 1 and is_sweep(directories[0])):
        warnings.warn(remark.removesuffix("."), stacklevel=2)


def without(groups: Groups, directories: Sequence[Path]) -> list[str]:
    """Return the finished runs of directories that are in no group because they lack the metric."""
    there = {run.path for _, runs in groups for run in runs}
    finished: list[Path] = []
    for path in directories:
        finished += [entry.path for entry in read_sweep(path).finished] if is_sweep(path) else [path]
    return distinct_names([path for path in finished if path not in there])


def run_label(group: Sequence[Run], keys: Sequence[str]) -> str:
    """Return the label of a group of repetitions: its values of the keys that differ."""
    config = group[0].config
    ordered = sorted(keys, key=lambda key: key != "method.name")
    parts = [
        str(config[key]) if key == "method.name" else f"{key}={config[key]}"
        for key in ordered
        if key in config
    ]
    directory = group[0].path.resolve().name
    alone = directory if len(group) == 1 else str(config.get("method.name", directory))  # of all repetitions
    return with_seeds(", ".join(parts) or alone, group)


def published_numbers(groups: Groups) -> dict[str, float]:
    """Return label → published number, where the experiment files of a configuration's runs agree on one."""
    found: dict[str, float] = {}
    for label, runs in groups:
        try:
            numbers = {published_of(run.path, str(run.curve.name)) for run in runs}
        except UserError as error:
            warnings.warn(f"there is no published number for {label}: {error}", stacklevel=2)
            continue
        if len(numbers) == 1 and (number := numbers.pop()) is not None:
            found[label] = number
    return found


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return the names of directories, prefixed with their parents where two are the same."""
    names = [path.resolve().name for path in paths]
    return [
        f"{path.resolve().parent.name}/{name}" if names.count(name) > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]
