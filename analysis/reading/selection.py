"""Select runs for a command: from runs, sweeps, folders of them and patterns, ignoring everything else."""

import glob
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.name_list import named
from analysis.reading.run_directory import NoDataError, is_unfinished, read_metrics
from analysis.reading.sweep import is_sweep, read_sweep
from common.errors import UserError


def chosen(paths: Sequence[Path]) -> list[Path]:
    """Return the directories of finished runs, and of sweeps with some, that paths and patterns name.

    Everything else, such as files, other folders and unfinished runs, is left out with a warning. Where
    there are only unfinished runs, they are returned with a warning.

    Raises
    ------
    UserError
        If nothing remains; it gives the reason for the first path.
    """
    there, foreign = _there(paths)
    found = [part for part in there if _has_end(part)]
    if not found and (begun := [part for part in there if _has_rows(part)]):
        # Of this line, so that it is said once, although a command may ask twice.
        warnings.warn(f"not finished, and shown as far as it is: {named(begun)}", stacklevel=1)
        return begun
    if not found and there:
        raise NoDataError(_unfinished(there[0]))
    _refuse_or_warn(found, foreign)
    if unfinished := [part for part in there if part not in found]:
        warnings.warn(f"not finished, and left out: {named(unfinished)}", stacklevel=2)
    return found


def chosen_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the finished runs that paths and patterns name, those of sweeps individually; like `chosen`."""
    return list(dict.fromkeys(run for path in chosen(paths) for run in _runs_of(path)))


def begun_runs(paths: Sequence[Path]) -> list[Path]:
    """Return all runs that paths and patterns name, finished or not; like `chosen`."""
    there, foreign = _there(paths)
    runs = [
        run
        for part in there
        for run in ([r.path for r in read_sweep(part).runs] if is_sweep(part) else [part])
    ]
    found = [path for path in dict.fromkeys(runs) if path.is_dir()]
    if not found and there:
        raise NoDataError(f"{there[0]}: no run has begun yet")
    _refuse_or_warn(found, foreign)
    return found


def unfinished_of(paths: Sequence[Path]) -> list[str]:
    """Return the names of the unfinished runs that paths and patterns name, including those in sweeps."""
    names: list[str] = []
    for part in _there(paths)[0]:
        if is_sweep(part):
            names += [run.name for run in read_sweep(part).runs if not run.is_finished]
        elif not _has_end(part):
            names.append(part.name)
    return names


def _there(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Return runs and sweeps, and for other paths the reason why they are neither."""
    found: list[Path] = []
    foreign: dict[Path, str] = {}
    for path in matching(paths):
        inner = [path]
        if not (_is_run(path) or is_sweep(path)):
            inner = [part for part in _folders(path) if _is_run(part) or is_sweep(part)]
        for part in inner:
            try:
                if not _is_run(part):
                    read_sweep(part)
                found.append(part)
            except UserError as error:  # sweep.json is damaged
                foreign[part] = str(error)
        if not path.is_dir():
            foreign[path] = (
                f"{path} is a file, not a run directory"
                if path.exists()
                else f"there is no run directory {path}"
            )
        elif not inner:
            foreign[path] = (
                f"{path} is neither a run directory nor a sweep: it has no config.toml and no summary.json"
            )
    return list(dict.fromkeys(found)), foreign


def _folders(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else []


def _refuse_or_warn(found: Sequence[Path], foreign: dict[Path, str]) -> None:
    if not found:
        raise UserError(next(iter(foreign.values())))
    damaged = [path for path in foreign if is_sweep(path)]
    for path in damaged:
        warnings.warn(f"left out: {foreign[path]}", stacklevel=3)
    if others := [path for path in foreign if path not in damaged]:
        warnings.warn(f"not run directories, and left out: {named(others)}", stacklevel=3)


def matching(paths: Iterable[Path]) -> list[Path]:
    """Return paths, with patterns that the shell did not expand replaced by their matches."""
    found: list[Path] = []
    for path in paths:
        if path.exists() or not glob.has_magic(str(path)):
            found.append(path)
        elif matches := [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]:
            found += matches
        else:
            raise UserError(f"nothing matches {path}")
    return list(dict.fromkeys(found))


def _runs_of(path: Path) -> list[Path]:
    return [run.path for run in read_sweep(path).finished] if is_sweep(path) else [path]


def _is_run(path: Path) -> bool:
    return (path / "config.toml").is_file() or (path / "summary.json").is_file()


def _has_end(path: Path) -> bool:
    return bool(read_sweep(path).finished) if is_sweep(path) else (path / "summary.json").is_file()


def _has_rows(path: Path) -> bool:
    """Return whether a single run has recorded a round."""
    try:
        return is_unfinished(path) and len(read_metrics(path)) > 0
    except UserError:
        return False


def _unfinished(path: Path) -> str:
    if is_sweep(path):
        return f"{path}: no run has finished yet"
    return f"{path}: the run has not recorded a round yet, or its metrics.csv is damaged"
