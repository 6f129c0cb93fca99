"""Everything that the live page shows, read from the directories on each request."""

import glob
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.live.files import read_object
from analysis.live.run_view import RunView, view_run
from common.errors import UserError
from common.sweep_files import SWEEP_FILE

_MAX_RUNS, _MAX_POINTS, _DEPTH = 2000, 400, 3
_RUN_FILES = ("config.toml", "metrics.csv", "summary.json", "request.json")
# Columns shown first, in order of preference.
_ACCURACIES = (
    "test_accuracy",
    "validation_accuracy",
    "personal_accuracy_macro",
    "federated_accuracy",
    "test_r2",
)
_LOSSES = ("train_loss", "test_loss", "validation_loss")
_MAX_METRICS = 12  # per request


def find_runs(path: Path, depth: int = _DEPTH) -> dict[str, Path]:
    """Return name → run directory below a path: the path itself, a sweep's planned runs, folders of runs."""
    if (path / SWEEP_FILE).is_file():
        planned = read_object(path / SWEEP_FILE).get("runs")
        if isinstance(planned, dict):
            folders = {str(name): _directory(name, run) for name, run in planned.items()}
            return {name: path / folder for name, folder in folders.items() if folder}
    if any((path / name).is_file() for name in _RUN_FILES[:3]):
        return {"": path}
    found: dict[str, Path] = {}
    for folder in _folders(path) if depth else ():
        for name, run in find_runs(folder, depth - 1).items():
            found["/".join(filter(None, (folder.name, name)))] = run
            if len(found) >= _MAX_RUNS:
                return found
    if not found and (path / _RUN_FILES[3]).is_file():
        return {"": path}  # a run in preparation
    return found


def _directory(name: object, run: object) -> str:
    """Return the folder of a planned run; empty for a duplicate of another run."""
    folder = run.get("directory", name) if isinstance(run, dict) else ""
    inside = isinstance(folder, str) and "/" not in folder and folder not in ("", ".", "..")
    return str(folder) if inside and folder == name else ""


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.is_symlink())
    except OSError:
        return []


def watchable(paths: Sequence[Path]) -> list[Path]:
    """Return the directories that paths and patterns name; matches of a pattern without runs are left out.

    Raises
    ------
    UserError
        If a path is not a run, a sweep or a folder of them.
    """
    found: list[Path] = []
    for path in paths:
        if glob.has_magic(str(path)) and not path.exists():
            there = [part for part in map(Path, sorted(glob.glob(str(path)))) if find_runs(part)]
            if there:
                found += there
                continue
        if not path.is_dir():
            raise UserError(f"there is no directory {path}: name the directory of a run or a sweep")
        if not find_runs(path):
            raise UserError(f"{path} holds no run and no sweep, or none that has started yet")
        found.append(path)
    return list(dict.fromkeys(found))


def snapshot(paths: Sequence[Path], metrics: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of the page.

    Parameters
    ----------
    paths : sequence of Path
        Directories of runs and sweeps.
    metrics : sequence of str
        Columns of ``metrics.csv`` to plot; by default an accuracy and a loss, and all columns for a single
        run.
    """
    views = [view_run(run, name) for name, run in _named(paths).items()]
    columns = sorted({column for view in views for column in view.rows.curves})
    chosen = [metric for metric in metrics if metric in columns][:_MAX_METRICS] or _first_choice(columns)
    if len(views) == 1 and not metrics:
        chosen = [*chosen, *(c for c in columns if c.endswith(("_loss", "_accuracy")) and c not in chosen)]
    return {
        "title": ", ".join(map(str, paths)),
        "time": time.time(),
        "columns": columns,
        "metrics": chosen,
        "runs": [view.shown(chosen) for view in views],
        "curves": {
            metric: [thinned(view.rows.curves.get(metric, [])) for view in views] for metric in chosen
        },
        "counts": {state: sum(view.state == state for view in views) for state in _states(views)},
        "end": expected_end(views),
        "missing": [str(path) for path in paths if not path.is_dir()],
    }


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        for name, run in find_runs(path).items():
            prefix = str(path) if len(paths) > 1 or not name else ""
            found["/".join(filter(None, (prefix, name)))] = run
    return dict(list(found.items())[:_MAX_RUNS])


def _states(views: Sequence[RunView]) -> list[str]:
    return list(dict.fromkeys(view.state for view in views))


def _first_choice(columns: Sequence[str]) -> list[str]:
    return [
        name
        for names in (_ACCURACIES, _LOSSES)
        if (name := next((known for known in names if known in columns), ""))
    ]


def thinned(curve: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at most a few hundred points of a curve, including the first and the last."""
    if len(curve) <= _MAX_POINTS:
        return list(curve)
    step = (len(curve) - 1) / (_MAX_POINTS - 1)
    return [curve[round(index * step)] for index in range(_MAX_POINTS)]


def expected_end(views: Sequence[RunView]) -> float | None:
    """Return the expected end of the last run in seconds since 1970; None if unknown or nothing is running.

    Assumes that waiting runs take as long as the known ones, and that as many run at a time as at present.
    """
    running = [view for view in views if view.state == "running"]
    left = [view.remaining for view in running]
    known = [view.total * view.seconds_per_round for view in views if view.total and view.seconds_per_round]
    if not running or not known or None in left:
        return None
    waiting = sum(view.state == "waiting" for view in views) * sum(known) / len(known)
    longest = max(value for value in left if value is not None)
    return time.time() + max(longest, (sum(value for value in left if value) + waiting) / len(running))
