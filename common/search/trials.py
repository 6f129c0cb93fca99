"""The trials of a search on disk: their values, their results, and which process runs which."""

import contextlib
import fcntl
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from common.errors import UserError
from common.files import read_json, write_atomic
from common.sections import Value

SEARCH_FILE = "search.json"
TRIALS_FOLDER = "trials"
PRUNED = "pruned"  # beginning of a run's ``stopped`` if its trial was pruned

State = Literal["open", "finished", "pruned", "failed", "diverged"]
ENDED: tuple[State, ...] = ("finished", "pruned", "failed", "diverged")


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes
    ----------
    number : int
        Its number, from 0.
    values : dict
        Values of the searched keys that apply to this trial.
    path : Path
        Its run directory.
    state : str
        ``open`` until it has ended.
    value : float, optional
        The objective in its last round, if it finished.
    remark : str
        Why it failed, or was pruned.
    proposed : dict
        Values of all searched keys.
    """

    number: int
    values: dict[str, Value]
    path: Path
    state: State = "open"
    value: float | None = None
    remark: str = ""
    proposed: dict[str, Value] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its run directory."""
        return self.path.name


def trial_path(directory: Path, number: int) -> Path:
    """Return the run directory of a trial."""
    return directory / TRIALS_FOLDER / f"trial-{number:04d}"


def read_search(directory: Path) -> dict[str, Any]:
    """Return the contents of a search directory's ``search.json``.

    Raises
    ------
    UserError
        If there is none, or it is damaged.
    """
    path = directory / SEARCH_FILE
    if not path.is_file():
        raise UserError(f"{directory} is not the directory of a search: it has no {SEARCH_FILE}")
    content = read_json(path)
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("keys"), dict)
        or not isinstance(content.get("objective"), str)
        or not isinstance(content.get("maximize"), bool)
    ):
        raise UserError(f"{path} is damaged: choose another directory for the search")
    return content


def read_trials(directory: Path, objective: str) -> list[Trial]:
    """Return the trials that have begun, in order.

    Raises
    ------
    UserError
        If a file is damaged, or a trial has no such objective.
    """
    found: list[Trial] = []
    while (file := _file(directory, len(found))).is_file():
        found.append(_read_trial(file, trial_path(directory, len(found)), len(found), objective))
    return found


def _file(directory: Path, number: int) -> Path:
    path = trial_path(directory, number)
    return path.with_name(f"{path.name}.json")


def _read_trial(file: Path, path: Path, number: int, objective: str) -> Trial:
    content = read_json(file)
    try:
        values, proposed = dict(content["values"]), dict(content["proposed"])
        state: State = content["state"]
        remark = str(content["remark"])
        if state not in ("open", *ENDED):
            raise ValueError
    except (LookupError, TypeError, ValueError):
        raise UserError(f"{file} is damaged: delete {path}* to try this trial again") from None
    summary = path / "summary.json"
    if state != "open" or not summary.is_file():
        return Trial(number, values, path, state, None, remark, proposed)
    result = read_json(summary)
    stopped = str(result.get("stopped", ""))
    value = result.get(f"final.{objective}")
    if value is None:
        known = [key.removeprefix("final.") for key in result if key.startswith("final.validation_")]
        raise UserError(
            f"search.objective: {path.name} has no '{objective}'; its validation metrics are:"
            f" {', '.join(known) or 'none'}"
        )
    if not math.isfinite(value):  # possible for a user's metric, or for the loss of a variant
        return Trial(number, values, path, "diverged", None, f"{objective} is {value}", proposed)
    state = "pruned" if stopped.startswith(PRUNED) else "finished"
    return Trial(number, values, path, state, float(value), stopped, proposed)


def write_trial(directory: Path, trial: Trial) -> None:
    """Write a trial's values and state; whether it finished is read from its run directory."""
    content = {
        "values": trial.values,
        "proposed": trial.proposed,
        "state": trial.state,
        "remark": trial.remark,
    }
    write_atomic(_file(directory, trial.number), (json.dumps(content, indent=2) + "\n").encode())


def ranked(trials: list[Trial], maximize: bool) -> list[Trial]:
    """Return the finished trials, best first; equal ones in order of their numbers."""
    finished = [trial for trial in trials if trial.state == "finished" and trial.value is not None]
    return sorted(finished, key=lambda trial: (-trial.value if maximize else trial.value) or 0.0)  # type: ignore[operator]


class Workers:
    """Locks of the processes that share a search: one at a time chooses trials, each locks those it runs.

    The locks of a process are released when it ends, for whatever reason.

    Parameters
    ----------
    directory : Path
        The search directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folder = directory / TRIALS_FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._presence = (self._folder / "workers.lock").open("ab")
        self._held: dict[int, IO[bytes]] = {}

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Return a context in which no other process can choose trials."""
        with (self._folder / "decide.lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def join(self) -> bool:
        """Register this process, and return whether there are others; call it within `deciding`."""
        try:
            fcntl.flock(self._presence, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except OSError:
            alone = False
        fcntl.flock(self._presence, fcntl.LOCK_SH)
        return not alone

    def hold(self, trial: Trial) -> bool:
        """Lock a trial; return False if another process runs it."""
        file = trial.path.with_name(f"{trial.path.name}.lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._held[trial.number] = file
        return True

    def release(self, trial: Trial) -> None:
        """Release the lock of a trial."""
        self._held.pop(trial.number).close()

    def close(self) -> None:
        """Release all locks."""
        for file in self._held.values():
            file.close()
        self._presence.close()
