"""The run directory: everything about a run in files that a person or a program can read."""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np
from flwr.app import Array
from safetensors.torch import save

from common.config import Config, to_toml
from common.errors import UserError
from common.files import write_atomic
from common.records import to_ndarray, to_tensors
from datasets.partition_report import write_label_distribution

METRICS_COLUMNS = (
    "round", "train_loss", "test_loss", "test_accuracy", "clients", "failures", "seconds",
    "bytes_down", "bytes_up", "validation_loss", "validation_accuracy",
    "federated_loss", "federated_accuracy", "local_steps", "num_examples",
)  # fmt: skip
EVALUATIONS_COLUMNS = ("round", "client_id", "num_examples")
CLIENTS_COLUMNS = ("round", "client_id", "num_examples", "steps", "loss", "seconds")
CLASSES_COLUMNS = ("round", "class", "group", "train_examples", "test_accuracy")
_FILES = ("config.toml", "metrics.csv", "clients.csv", "evaluations.csv", "summary.json", "model.safetensors")
_PACKAGES = ("flwr", "torch", "torchvision", "numpy", "ray")


class CsvLog:
    """A CSV file that grows by whole, flushed rows, and by a column for each new key of a row.

    Parameters
    ----------
    path : Path
        The file; its header is written if it is new.
    columns : Sequence[str]
        The first columns; values that a row lacks are empty.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._first_columns = list(columns)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._columns = next(csv.reader(lines[:1]), self._first_columns)
        self.num_rows = max(0, len(lines) - 1)
        self._file = path.open("ab")
        if not lines:
            self._write(self._columns)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        if new := [key for key, value in row.items() if key not in self._columns and value is not None]:
            self._add_columns(new)
        self._write([_format(row.get(column)) for column in self._columns])
        self.num_rows += 1

    def cut_back(self, num_rows: int) -> None:
        """Forget the rows after the first `num_rows`."""
        self._rewrite(self._path.read_text(encoding="utf-8").splitlines()[: 1 + num_rows])

    def restart(self) -> None:
        """Forget all rows."""
        self._columns = self._first_columns
        self._rewrite([_csv_line(self._columns)])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add_columns(self, names: Sequence[str]) -> None:
        _, *rows = self._path.read_text(encoding="utf-8").splitlines()
        self._columns = [*self._columns, *names]
        self._rewrite([_csv_line(self._columns), *(row + "," * len(names) for row in rows)])

    def _rewrite(self, lines: Sequence[str]) -> None:
        self._file.close()
        write_atomic(self._path, "".join(f"{line}\n" for line in lines).encode())
        self._file = self._path.open("ab")
        self.num_rows = len(lines) - 1

    def _write(self, values: Sequence[str]) -> None:
        self._file.write(f"{_csv_line(values)}\n".encode())
        self._file.flush()


def _csv_line(values: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


class RunDirectory:
    """Writes the files of one run.

    Parameters
    ----------
    path : Path
        The directory.
    config : Config
        The run's configuration.
    resume : bool
        Whether the directory's run goes on; otherwise the directory must not hold one.
    """

    def __init__(self, path: Path, config: Config, resume: bool) -> None:
        if holds_run(path) and not resume:
            raise UserError(
                f"{path} already holds a run: continue it with --resume or choose another --run-dir"
            )
        path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_directory(path)
        self.path = path
        self.config = config
        write_atomic(path / "config.toml", to_toml(config.flat()).encode())
        self.metrics = CsvLog(path / "metrics.csv", METRICS_COLUMNS)
        self.clients = CsvLog(path / "clients.csv", CLIENTS_COLUMNS)
        self.evaluations = CsvLog(path / "evaluations.csv", EVALUATIONS_COLUMNS)
        self._logs = {"metrics": self.metrics, "clients": self.clients, "evaluations": self.evaluations}
        if config.class_groups != "none":
            self.classes = self.add_log("classes", CLASSES_COLUMNS)

    def add_log(self, name: str, columns: Sequence[str]) -> CsvLog:
        """Return a further growing file, ``<name>.csv``, that is cut back with the others."""
        self._logs[name] = CsvLog(self.path / f"{name}.csv", columns)
        return self._logs[name]

    def num_rows(self) -> dict[str, int]:
        """Return the lengths of the growing files, for a checkpoint."""
        return {name: log.num_rows for name, log in self._logs.items()}

    def cut_back(self, num_rows: Mapping[str, int]) -> None:
        """Forget the rows that were written after a checkpoint."""
        for name, log in self._logs.items():
            log.cut_back(num_rows.get(name, 0))

    def restart(self) -> None:
        """Forget all rows: the run never got as far as a checkpoint."""
        for log in self._logs.values():
            log.restart()

    def write_label_distribution(self, counts: np.ndarray, class_names: Sequence[str]) -> None:
        """Write what each client holds: a row per client, a column per class."""
        write_label_distribution(self.path / "label_distribution.csv", counts, class_names)

    def write_model(self, arrays: Mapping[str, Array]) -> str:
        """Write the final model as safetensors and return its hash."""
        write_atomic(self.path / "model.safetensors", save(to_tensors(arrays)))
        return model_sha256(arrays)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``: the sign that the run has finished."""
        content = {**summary, "versions": versions(), "config": self.config.flat()}
        write_atomic(self.path / "summary.json", (json.dumps(content, indent=2) + "\n").encode())

    def log(self, text: str) -> None:
        """Add a line, with the time, to ``log.txt``."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def close(self) -> None:
        """Close the growing files and let others have the directory."""
        for log in self._logs.values():
            log.close()
        self._lock.close()


def check_writable(path: Path) -> None:
    """Make sure that a run can write into a directory, before anything starts; nothing is left there.

    Raises
    ------
    UserError
        If the directory cannot be made, or no file in it.
    """
    made: list[Path] = []
    try:
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write to the run directory {path}: {reason}; choose another one") from None
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def holds_run(path: Path) -> bool:
    """Whether a directory holds files of a run, even if some are missing."""
    return any((path / name).exists() for name in _FILES) or any(path.glob("checkpoints/round-*.json"))


def lock_directory(path: Path) -> IO[bytes]:
    """Lock a run directory for as long as the returned file is open; a process that dies lets go of it.

    Raises
    ------
    UserError
        If another process runs in it.
    """
    file = (path / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise UserError(f"another process runs in {path}: wait for it, or stop it") from None
    return file


def default_run_directory(config: Config) -> Path:
    """Return a new directory below ``runs/``, named after the method, the data set and the time."""
    name = re.sub(r"[^a-z0-9._-]+", "-", f"{config.method.name}-{config.dataset.name}".lower())
    base = Path("runs") / f"{name[:100]}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (base, *(base.with_name(f"{base.name}-{i}") for i in range(2, 1000)))
    return next(path for path in candidates if not path.exists())


def model_sha256(arrays: Mapping[str, Array]) -> str:
    """Hash names, dtypes, shapes and bytes of a model in sorted name order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        ndarray = to_ndarray(arrays[name])
        digest.update(f"{name}|{ndarray.dtype.str}|{list(ndarray.shape)}|".encode())
        digest.update(np.ascontiguousarray(ndarray).tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _format(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
