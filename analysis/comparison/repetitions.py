"""Repetitions of a configuration at the rounds that all have measured, and the rounds left out."""

import warnings
from collections.abc import Sequence

import pandas as pd

from analysis.comparison.groups import distinct_names
from analysis.name_list import named
from analysis.reading.runs import Run, readable


def common_rounds(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the metric of repetitions, a column each, at the rounds that all have measured; warn of others.

    Parameters
    ----------
    runs : sequence of Run
        Runs that differ in the seed only, loaded with the same metric.
    """
    if remark := gaps(runs):
        warnings.warn(remark, stacklevel=1)  # one location: several pictures of the same runs warn once
    # A mean over a changing set of seeds would jump.
    return pd.concat([run.curve for run in runs], axis=1, join="inner")


def gaps(runs: Sequence[Run]) -> str:
    """Return a remark if repetitions have measured their metric in different rounds; otherwise ""."""
    measured: set[int] = set().union(*(run.curve.index for run in runs))
    lacking = [run for run in runs if measured > set(run.curve.index)]
    if not lacking:
        return ""
    rounds = sorted(measured - set.intersection(*(set(run.curve.index) for run in runs)))
    names = distinct_names([run.path for run in lacking])
    ends = sorted({int(run.curve.index[-1]) for run in runs})
    last = f"; the last values are of rounds {', '.join(map(str, ends))}" if len(ends) > 1 else ""
    metric = readable(str(runs[0].curve.name)).capitalize()
    return (
        f"{metric}: curves of {len(runs)} runs leave out {_listed(rounds)},"
        f" which not all have measured ({named(names)}){last}"
    )


def _listed(rounds: Sequence[int]) -> str:
    """Return ascending rounds as text, consecutive ones as a range."""
    parts: list[list[int]] = []
    for server_round in rounds:
        if parts and server_round == parts[-1][-1] + 1:
            parts[-1].append(server_round)
        else:
            parts.append([server_round])
    texts = [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts]
    return f"{'round' if len(rounds) == 1 else 'rounds'} {named(texts)}"
