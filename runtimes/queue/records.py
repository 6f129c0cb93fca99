"""A queue's records of its runs, and the two locks that keep a second queue out."""

import fcntl
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from common.errors import UserError
from common.files import write_atomic
from runtimes.queue.runs import Run

_FOLDER = ".queue"


@dataclass(frozen=True)
class Record:
    """The outcome of a run.

    Attributes
    ----------
    key : str
        ``Run.key`` at that time: a record of a different request is ignored.
    state : str
        ``done``, ``failed``, ``given up``, or ``interrupted``: to be resumed.
    reason : str
        Why it failed or was given up.
    round : int
        The last committed round.
    attempts : int
        Number of consecutive interruptions without a further commit.
    """

    key: str
    state: Literal["done", "failed", "given up", "interrupted"]
    reason: str = ""
    round: int = -1
    attempts: int = 0


class Records:
    """The folder ``.queue`` in the directory of a queue.

    Parameters
    ----------
    directory : Path
        The folder of all runs.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / _FOLDER
        self._running = self._folder / "running.json"

    def read(self, run: Run) -> Record | None:
        """Return the record of a run, if it is of the current request."""
        try:
            record = Record(**json.loads(self._file(run).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return record if record.key == run.key else None

    def write(self, run: Run, record: Record) -> None:
        """Keep a record."""
        file = self._file(run)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, (json.dumps(asdict(record), indent=2) + "\n").encode())

    def forget(self, run: Run) -> None:
        """Allow a run to be retried."""
        self._file(run).unlink(missing_ok=True)

    def log_file(self, run: Run) -> Path:
        """Return the file to which the output of a run is appended."""
        path = self._folder / "logs" / run.entry_name / f"{run.labels or 'run'}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def lock(self) -> IO[bytes]:
        """Keep other queues out for as long as the returned file is open.

        Raises
        ------
        UserError
            If another queue works in the directory.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        file = (self._folder / "lock").open("ab")
        if not try_lock(file):
            file.close()
            raise UserError(f"another queue works in {self._folder.parent}: stop it, or look with --status")
        return file

    def run_lock(self) -> IO[bytes]:
        """Open the file whose lock a run's process inherits, so that the lock outlives a killed queue."""
        return (self._folder / "run-lock").open("ab")

    def is_locked(self) -> bool:
        """Return whether the process of a run is alive, of this queue or of a killed one."""
        try:
            with (self._folder / "run-lock").open("rb") as file:
                return not try_lock(file, fcntl.LOCK_SH)
        except OSError:
            return False

    def note_running(self, run: Run | None, pid: int = 0) -> None:
        """Record which run's process is running."""
        content = {"run": run.name if run else "", "pid": pid, "since": time.time()}
        write_atomic(self._running, (json.dumps(content) + "\n").encode())

    def running(self) -> tuple[str, int]:
        """Return the name and the process id of the last started run; empty and 0 if unknown."""
        try:
            content = json.loads(self._running.read_text(encoding="utf-8"))
            return str(content["run"]), int(content["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", 0

    def _file(self, run: Run) -> Path:
        return self._folder / "records" / run.entry_name / f"{run.labels or 'run'}.json"


def try_lock(file: IO[bytes], kind: int = fcntl.LOCK_EX) -> bool:
    """Lock a file unless another process holds the lock; return whether it worked."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
