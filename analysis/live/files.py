"""Reads a run's files while they are written: the last line may be incomplete, any file may be missing."""

import csv
import math
import os
import re
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.files import read_regular
from common.reading import parse_json

_MAX_BYTES = 2**28
_LOCKS = Path("/proc/locks")  # Linux: shows lock holders without taking a lock
_ENDED = re.compile(r"^[\d-]{10} [\d:]{8}  ended by (\w+): ?(.*)$")
_TAIL = 65536  # bytes read from the end of a log
_QUIET_ROUNDS, _QUIET_SECONDS = 5, 60.0
STOPS = ("KeyboardInterrupt", "SystemExit")


@dataclass(frozen=True)
class Rows:
    """The numbers of ``metrics.csv``: column → (round, value) pairs; empty cells are left out.

    ``not_finite`` has the last cell of columns that end with ``nan`` or ``inf``.
    """

    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    last_round: int = -1
    not_finite: dict[str, str] = field(default_factory=dict)

    def latest(self, column: str) -> float | str | None:
        """Return the last value of a column, as a text if it is not finite; None if there is none."""
        if column in self.not_finite:
            return self.not_finite[column]
        curve = self.curves.get(column)
        return curve[-1][1] if curve else None


def read_rows(path: Path) -> Rows:
    """Read the complete lines; cells that are not finite numbers are in no curve.

    Raises
    ------
    OSError, ValueError
        If the file is missing or malformed.
    """
    text = read_regular(path, _MAX_BYTES).decode("utf-8", "replace")
    lines = text[: text.rfind("\n") + 1].splitlines()
    reader = csv.reader(lines)
    header = next(reader, [])
    if lines and "round" not in header:
        raise ValueError(f"{path.name} has no column 'round'")
    place, last = header.index("round") if lines else 0, -1
    curves: dict[str, list[tuple[int, float]]] = {}
    not_finite: dict[str, str] = {}
    for row in reader:
        number = _number(row[place]) if place < len(row) else None
        if number is None:
            continue
        last = max(last, int(number))
        for column, cell in zip(header, row, strict=False):
            if column == "round" or not cell:
                continue
            not_finite.pop(column, None)
            if (value := _number(cell)) is not None:
                curves.setdefault(column, []).append((int(number), value))
            elif cell.lstrip("-") in ("nan", "inf"):
                not_finite[column] = cell
    return Rows(curves, last, not_finite)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e300 else None


def read_total(run: Path) -> int | None:
    """Return ``rounds`` of ``config.toml``, or None if it has none."""
    try:
        rounds = tomllib.loads(read_regular(run / "config.toml", _MAX_BYTES).decode()).get("rounds")
    except (OSError, ValueError, RecursionError):
        return None
    return rounds if type(rounds) is int and rounds > 0 else None


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one if the file is missing or holds something else."""
    try:
        content = parse_json(read_regular(path, _MAX_BYTES).decode(), path.name)
    except Exception:  # nothing in a run directory may break the page
        return {}
    return content if isinstance(content, dict) else {}


def last_end(run: Path) -> tuple[str, str]:
    """Return the class and the message of the error that ended the run, if nothing was logged after it."""
    try:
        lines = read_regular(run / "log.txt", _MAX_BYTES)[-_TAIL:].decode("utf-8", "replace").splitlines()
    except OSError:
        return "", ""
    for index in range(len(lines) - 1, -1, -1):  # a message may have several lines
        if found := _ENDED.match(lines[index]):
            return found[1], " ".join([found[2], *lines[index + 1 :]]).strip()[:2000]
        if re.match(r"^[\d-]{10} [\d:]{8}  ", lines[index]):
            break
    return "", ""


def is_written(run: Path, seconds_per_round: float | None) -> bool:
    """Return whether a process works in the run directory: it holds the lock or wrote recently."""
    try:
        held = _locked_files()
        status = (run / "lock").stat()
        if held is not None:
            return (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino) in held
        age = time.time() - (run / "metrics.csv").stat().st_mtime
    except (OSError, ValueError):
        return False
    return age < max(_QUIET_SECONDS, _QUIET_ROUNDS * (seconds_per_round or 0.0))


def _locked_files() -> set[tuple[int, int, int]] | None:
    """Return device and inode of every locked file; None where the system does not list them."""
    if not _LOCKS.exists():
        return None
    found = re.findall(r" FLOCK .* (\w+):(\w+):(\d+) ", _LOCKS.read_text())
    return {(int(major, 16), int(minor, 16), int(inode)) for major, minor, inode in found}
