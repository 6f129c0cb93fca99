"""Runs of different lengths next to each other, whose final values are of different rounds."""

from collections.abc import Sequence

from analysis.name_list import named
from analysis.reading.runs import Run

_MAX_LENGTHS = 4


def different_lengths(groups: Sequence[tuple[str, Sequence[Run]]]) -> str:
    """Return a remark if the runs of a table have different numbers of rounds; otherwise "".

    Parameters
    ----------
    groups : sequence of (str, sequence of Run)
        Label and runs of each cell or row.
    """
    labels: dict[int, list[str]] = {}
    for label, runs in groups:
        for rounds in sorted({run.rounds for run in runs}):
            labels.setdefault(rounds, []).append(label)
    lengths = sorted(labels, reverse=True)
    if len(lengths) < 2:
        return ""
    if len(lengths) > _MAX_LENGTHS or len(groups) == 1:
        return f"not all after the same number of rounds: {lengths[-1]} to {lengths[0]}"
    most = max(lengths, key=lambda rounds: len(labels[rounds]))
    parts = [
        f"{rounds} ({named(labels[rounds], '; ')})"
        for rounds in lengths
        if rounds != most or len(labels[most]) == 1
    ]
    if len(labels[most]) > 1:
        parts.append(f"{most} (the other {len(labels[most])})")
    return f"not all after the same number of rounds: {', '.join(parts)}"
