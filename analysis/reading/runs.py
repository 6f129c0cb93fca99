"""Finished runs side by side: how their configurations differ and which ones repeat each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.reading.run_directory import NoDataError, read_metrics, read_summary
from common.errors import UserError

SEED_KEY = "seed"


@dataclass(frozen=True)
class Run:
    """One finished run, seen through one metric.

    Attributes
    ----------
    path : pathlib.Path
        The run directory.
    config : dict
        The resolved configuration by dotted key, without ``run.*``: where it is stored makes no difference.
    rounds : int
        Number of rounds.
    seconds : float
        Duration.
    curve : pandas.Series
        The metric by round, where it was measured.
    steps : pandas.Series or None
        Local steps of all clients together up to each round; None if the run did not count them.
    """

    path: Path
    config: dict[str, Any]
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
        """Return the mean of the last ten measurements; that of the initial model counts if it is alone."""
        trained = self.curve[self.curve.index > 0]
        return float((trained if len(trained) else self.curve).iloc[-10:].mean())

    @property
    def best(self) -> float:
        """Return the least loss or error, or the greatest value of any other metric."""
        is_loss = str(self.curve.name).endswith(("loss", "_mse", "_mae"))
        return float(self.curve.min() if is_loss else self.curve.max())


def load_run(run_dir: Path, metric: str) -> Run:
    """Read one run.

    Parameters
    ----------
    run_dir : pathlib.Path
        A run directory.
    metric : str
        A column of ``metrics.csv``; of ``a|b`` the first that the run has measured.

    Raises
    ------
    UserError
        If the run has not ended, or has no such metric.
    """
    summary = read_summary(run_dir)
    metrics = read_metrics(run_dir).set_index("round")
    columns = [name for name in metric.split("|") if name in metrics]
    if not columns:
        raise UserError(f"{run_dir} has no metric {metric!r}; metrics: {', '.join(metrics.columns)}")
    curves = [metrics[name].dropna().rename(metric) for name in columns]
    curve = next((curve for curve in curves if not curve.empty), curves[0])
    if curve.empty:
        raise NoDataError(f"{run_dir} has no value of {metric!r}")
    return Run(
        path=run_dir,
        config={key: v for key, v in summary.get("config", {}).items() if not key.startswith("run.")},
        rounds=int(summary.get("rounds", curve.index[-1])),
        seconds=float(summary.get("seconds", np.nan)),
        curve=curve,
        steps=metrics["local_steps"].fillna(0).cumsum() if "local_steps" in metrics else None,
    )


def default_metric(paths: Sequence[Path]) -> str:
    """Return ``test_accuracy``, or what the first run has measured instead: a loss, validation data."""
    folders = [folder for path in paths for folder in (path, *sorted(path.glob("*/")))]
    for folder in (folder for folder in folders if (folder / "metrics.csv").is_file()):
        metrics = read_metrics(folder)
        for name in ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss"):
            if name in metrics and metrics[name].notna().any():
                return name
    return "test_accuracy"


def differing_keys(runs: Sequence[Run]) -> list[str]:
    """Return the sorted configuration keys whose values are not the same in all runs."""
    keys = sorted({key for run in runs for key in run.config})
    return [key for key in keys if len({_comparable(run.config, key) for run in runs}) > 1]


def group_seeds(runs: Sequence[Run]) -> list[list[Run]]:
    """Put runs whose configurations differ at most in the seed together, in the order of their first run."""
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        key = tuple((name, _comparable(run.config, name)) for name in sorted(run.config) if name != SEED_KEY)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1), which is NaN for a single value."""
    series = pd.Series(values, dtype=float)
    return float(series.mean()), float(series.std(ddof=1))


def _comparable(config: dict[str, Any], key: str) -> str:
    return repr(config[key]) if key in config else ""
