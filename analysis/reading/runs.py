"""Finished runs side by side: the differences of their configurations, and their repetitions."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.reading.run_directory import NoDataError, read_metrics, read_summary
from common.errors import UserError, nearest
from common.experiment import OWN_ACCURACY
from common.number_text import fixed
from common.sections import lower_is_better

SEED_KEY = "seed"
HOW_MEASURED = "clients measure it with clients.evaluate-fraction above 0"
# Default metrics of a report; after a bar, the substitute in runs that lack the first.
_LEADING = (OWN_ACCURACY, "test_accuracy_mean|test_accuracy")
_WHERE_DATA_ARE = ("dataset.root", "dataset.download")


@dataclass(frozen=True)
class Run:
    """One finished run, loaded with one metric.

    Attributes
    ----------
    path : pathlib.Path
        The run directory.
    config : dict
        The configuration by dotted key, with all parameters of what it names, without ``run.*``, which sets
        where it is stored.
    defaults : dict
        The parameters among them that the configuration did not set, which have their defaults.
    rounds : int
        Number of rounds.
    seconds : float
        Duration.
    curve : pandas.Series
        The metric by round, measured rounds only.
    steps : pandas.Series or None
        Local steps of all clients together up to each round; None if the run did not count them.
    """

    path: Path
    config: dict[str, Any]
    defaults: dict[str, Any]
    rounds: int
    seconds: float
    curve: "pd.Series[float]"
    steps: "pd.Series[float] | None" = None

    @property
    def final(self) -> float:
        """Return the last value of the metric."""
        return float(self.curve.iloc[-1])

    @property
    def last_ten(self) -> float:
        """Return the mean of the last ten measurements after round 0; NaN if there are fewer."""
        trained = self.curve[self.curve.index > 0]
        return float(trained.iloc[-10:].mean()) if len(trained) >= 10 else math.nan

    @property
    def best(self) -> float:
        """Return the smallest loss or error, or the largest value of any other metric."""
        return float(self.curve.min() if lower_is_better(str(self.curve.name)) else self.curve.max())


def load_run(run_dir: Path, metric: str) -> Run:
    """Read one run.

    Parameters
    ----------
    run_dir : pathlib.Path
        A run directory.
    metric : str
        A column of ``metrics.csv``; ``a|b`` is the first of these that the run has measured.

    Raises
    ------
    UserError
        If the run has not ended, or has no such metric.
    """
    summary = read_summary(run_dir)
    metrics = read_metrics(run_dir).set_index("round")
    rounds = None if "unfinished" in summary else summary.get("rounds")
    if rounds is not None and metrics.index[-1] != rounds:
        raise UserError(
            f"{run_dir}: metrics.csv ends with round {metrics.index[-1]}, but summary.json is of round"
            f" {rounds}: the run was continued, or rows were lost; --resume completes both"
        )
    columns = [name for name in metric.split("|") if name in metrics]
    if not columns:
        measured = [str(name) for name in metrics if metrics[name].notna().any()]
        hint = nearest(metric, measured)
        raise NoDataError(f"{run_dir} has no metric {metric!r}{hint} (measured: {', '.join(measured)})")
    curves = [metrics[name].dropna().rename(metric) for name in columns]
    curve = next((curve for curve in curves if not curve.empty), curves[0])
    if curve.empty:
        raise NoDataError(f"{run_dir} has no value of {metric!r}")
    defaults, values = summary.get("defaults", {}), summary.get("config", {})
    return Run(
        path=run_dir,
        config={key: value for key, value in {**defaults, **values}.items() if not _only_records(key)},
        defaults=defaults,
        rounds=int(summary.get("rounds", curve.index[-1])),
        seconds=float(summary.get("seconds", np.nan)),
        curve=curve,
        steps=metrics["local_steps"].fillna(0).cumsum() if "local_steps" in metrics else None,
    )


def _only_records(key: str) -> bool:
    """Return whether a key only sets what a run writes and where, which makes no different experiment."""
    return key in ("tracking", "observers") or key.startswith(("run.", "checkpoint.", "analysis."))


def default_metric(paths: Sequence[Path]) -> str:
    """Return the most informative metric of the runs below some paths.

    With personal models, it is their accuracy, and for runs without them that of the global model on the
    clients' data; with models of several sizes, the mean over the sizes; otherwise ``test_accuracy``, or
    what was measured instead: a loss, validation data.
    """
    return default_metrics(paths)[0]


def default_metrics(paths: Sequence[Path]) -> list[str]:
    """Return ``default_metric``, and `OWN_ACCURACY` where only some of the runs have measured that."""
    measured = [found for path in paths for found in _measured(path)]
    metric = _most_informative(measured)
    if metric not in (OWN_ACCURACY, "personal_accuracy") and any(
        "personal_accuracy" in columns for columns in measured
    ):
        return [metric, OWN_ACCURACY]
    return [metric]


def _most_informative(measured: Sequence[set[str]]) -> str:
    for metric in _LEADING:
        first, _, _ = metric.partition("|")
        if any(first in columns for columns in measured):
            if all(first in columns for columns in measured):
                return first
            if all(columns & set(metric.split("|")) for columns in measured):
                return metric
    known: set[str] = set().union(*measured)
    usual = ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss")
    return next((name for name in usual if name in known), "test_accuracy")


def _measured(path: Path) -> list[set[str]]:
    """Return the columns with values of each run at or below a path; damaged files are reported later."""
    found = []
    for folder in (path, *sorted(path.glob("*/"))):
        if (folder / "metrics.csv").is_file():
            try:
                metrics = read_metrics(folder)
            except UserError:
                continue
            found.append({str(name) for name in metrics if metrics[name].notna().any()})
    return found


def is_accuracy(metric: str) -> bool:
    """Return whether a metric is shown in per cent."""
    return "accuracy" in metric


def readable(metric: str) -> str:
    """Return the name of a metric for readers."""
    return metric.replace("|", " or ").replace("_", " ")


def unit(metric: str) -> str:
    """Return the axis label of a metric."""
    return readable(metric) + (" (%)" if is_accuracy(metric) else "")


def data_remark(runs: Sequence[Run]) -> str:
    """Return a remark if runs have different data, and so numbers that are not comparable; otherwise ""."""
    names = list(dict.fromkeys(str(run.config.get("dataset.name", "?")) for run in runs))
    if len(names) > 1:
        return f"The runs have different data ({', '.join(names)}): their numbers cannot be compared."
    keys = [key for key in differing_keys(runs) if key.startswith("dataset.") and key not in _WHERE_DATA_ARE]
    return f"The runs differ in their data: {', '.join(keys)}." if keys else ""


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Return the sorted configuration keys whose values are not the same in all runs.

    A parameter that has its default in some runs, and that what the others name does not have, is none.
    """

    def differs(key: str) -> bool:
        having = runs if _is_set(runs, key) else [run for run in runs if key in run.config]
        return len({_comparable(run.config, key) for run in having}) > 1

    return list(filter(differs, sorted({key for run in runs for key in run.config})))


def telling_keys(runs: Sequence[Run]) -> list[str]:
    """Return the differing keys, but for parameters that follow from what the runs name.

    SCAFFOLD weights clients uniformly by default and FedAvg by examples: ``method.name`` is enough.
    """
    return [key for key in differing_keys(runs) if _is_set(runs, key)]


def _is_set(runs: Sequence[Run], key: str) -> bool:
    return any(key in run.config and key not in run.defaults for run in runs)


def group_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """Group runs whose configurations differ at most in the seed, in the order of their first run."""
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        key = tuple((name, _comparable(run.config, name)) for name in sorted(run.config) if name != SEED_KEY)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1), which is NaN for a single value."""
    series = pd.Series(values, dtype=float)
    return float(series.mean()), float(series.std(ddof=1))


def mean_text(values: Sequence[float], digits: int) -> str:
    """Return the mean as text, followed by ± the sample standard deviation for several values.

    A dash if a value is missing (NaN).
    """
    if any(map(math.isnan, values)):
        return "-"
    mean, deviation = mean_and_deviation(values)
    return fixed(mean, digits) + (f" ± {fixed(deviation, digits)}" if len(values) > 1 else "")


def without_repeats(runs: Sequence[Run]) -> list[Run]:
    """Leave out, with a warning, duplicate runs: same configuration and seed, same numbers.

    They carry no information on the spread over seeds. Runs of one seed with other numbers, as on GPUs, stay.
    """
    repeats: set[int] = set()  # by identity
    for group in group_seeds(runs):
        first: dict[tuple[str, tuple[float, ...]], Run] = {}
        for run in group:
            original = first.setdefault((_comparable(run.config, SEED_KEY), tuple(run.curve)), run)
            if original is not run:
                repeats.add(id(run))
                warnings.warn(
                    f"left out: {run.path} repeats {original.path}, with the same seed and numbers",
                    stacklevel=2,
                )
    return [run for run in runs if id(run) not in repeats]


def _comparable(config: dict[str, Any], key: str) -> str:
    return repr(config[key]) if key in config else ""
