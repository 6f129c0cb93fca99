"""The run directory: everything about a run, in files for people and programs."""

import contextlib
import fcntl
import functools
import hashlib
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

from common.checkpoint_files import FOLDER, committed_rounds
from common.client_tables import write_counts, write_table
from common.config import Config
from common.config_values import to_toml
from common.device import hardware
from common.errors import UserError
from common.files import write_atomic
from common.records import to_ndarray, to_tensors
from common.sections import Value
from server.named_parameters import defaults_of_named, without_inherited
from server.records.row_files import CsvLog, RowFiles, RowState
from server.stopwatch import COLUMNS

METRICS_COLUMNS = (
    "round", "train_loss", "test_loss", "test_accuracy", "clients", "failures", "seconds",
    "bytes_down", "bytes_up", "validation_loss", "validation_accuracy",
    "federated_loss", "federated_accuracy", "local_steps", "num_examples", *COLUMNS,
)  # fmt: skip
EVALUATIONS_COLUMNS = ("round", "client_id", "num_examples")
CLIENTS_COLUMNS = ("round", "client_id", "num_examples", "steps", "loss", "seconds")
CLASSES_COLUMNS = ("round", "class", "group", "train_examples", "test_accuracy")
_FILES = ("config.toml", "metrics.csv", "clients.csv", "evaluations.csv", "summary.json", "model.safetensors")
_PACKAGES = ("flwr", "torch", "torchvision", "numpy", "ray")


class RunDirectory:
    """Writes the files of one run.

    Parameters
    ----------
    path : Path
        The directory.
    config : Config
        The run's configuration.
    resume : bool
        Whether the directory's run is resumed; otherwise the directory must not hold one.
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
        self.values = without_inherited(config)
        self._defaults = {
            key: value for key, value in defaults_of_named(config).items() if key not in self.values
        }
        write_atomic(path / "config.toml", self._config_text().encode())
        self._rows = RowFiles(path, resume)
        self.metrics = self.add_log("metrics", METRICS_COLUMNS)
        self.clients = self.add_log("clients", CLIENTS_COLUMNS)
        self.evaluations = self.add_log("evaluations", EVALUATIONS_COLUMNS)
        if config.class_groups != "none":
            self.classes = self.add_log("classes", CLASSES_COLUMNS)

    @property
    def all_values(self) -> dict[str, Value]:
        """The configuration with all parameters of everything that it names."""
        return self._defaults | self.values

    def _config_text(self) -> str:
        lines = to_toml(self._defaults).splitlines()
        named = "".join(f"# {line}\n" for line in ["The defaults of what is named above:", *lines])
        return to_toml(self.values) + (named if lines else "")

    def add_log(self, name: str, columns: Sequence[str]) -> CsvLog:
        """Return another growing file, ``<name>.csv``, that is committed and restored with the others."""
        return self._rows.open(name, columns)

    def commit_rows(self) -> dict[str, RowState]:
        """Flush the rows of the growing files to disk; return what a checkpoint stores of them."""
        return self._rows.commit()

    def restore_rows(self, states: Mapping[str, RowState]) -> list[str]:
        """Restore the rows of a checkpoint; return remarks on rows that had been lost."""
        return self._rows.restore(states)

    def restart(self) -> None:
        """Delete all rows, if the run has not reached a checkpoint."""
        self._rows.restart()

    def write_label_distribution(
        self, sizes: np.ndarray, counts: np.ndarray, class_names: Sequence[str]
    ) -> None:
        """Write the clients' numbers of samples: a row per client, a column per class."""
        path = self.path / "label_distribution.csv"
        if class_names:
            write_counts(path, sizes, counts, class_names)
        else:  # the label counts stay on the clients
            write_table(path, {"num_examples": sizes})

    def write_nodes(
        self, node_ids: Mapping[int, int], sizes: np.ndarray, versions: Mapping[int, Sequence[str]]
    ) -> None:
        """Write which node each client runs on, if the nodes are separate processes: ``nodes.csv``."""
        if versions:
            columns = {
                "node_id": np.array([node_ids[client_id] for client_id in versions], dtype=np.uint64),
                "num_examples": sizes,
                "versions": np.array([", ".join(texts) for texts in versions.values()]),
            }
            write_table(self.path / "nodes.csv", columns)

    def write_model(self, arrays: Mapping[str, Array]) -> str:
        """Write the final model as safetensors and return its hash."""
        write_atomic(self.path / "model.safetensors", save(to_tensors(arrays)))
        return model_sha256(arrays)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``, which marks the run as finished."""
        content = {
            **summary,
            "versions": versions(),
            "hardware": hardware(self.config.device),
            "config": self.values,
            "defaults": self._defaults,
        }
        write_atomic(self.path / "summary.json", (json.dumps(content, indent=2) + "\n").encode())

    def remove_summary(self) -> None:
        """Remove ``summary.json``, since the run continues and is no longer finished."""
        (self.path / "summary.json").unlink(missing_ok=True)

    def log(self, text: str) -> None:
        """Add a line, with the time, to ``log.txt``."""
        with (self.path / "log.txt").open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")

    def close(self) -> None:
        """Close the growing files and unlock the directory."""
        self._rows.close()
        self._lock.close()


def check_writable(path: Path) -> None:
    """Make sure that a run can write into a directory, before anything starts; nothing is left there.

    Raises
    ------
    UserError
        If the directory cannot be made, or no file in it.
    """
    if path.is_file():
        raise UserError(f"the run directory {path} is a file; choose another --run-dir")
    made: list[Path] = []
    try:
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: a path of a thousand folders
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write to the run directory {path}: {reason}; choose another one") from None
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def holds_run(path: Path) -> bool:
    """Return whether a directory holds files of a run, even if some are missing."""
    return any((path / name).exists() for name in _FILES) or bool(committed_rounds(path / FOLDER))


def lock_directory(path: Path) -> IO[bytes]:
    """Lock a run directory until the returned file is closed, or the process ends.

    Raises
    ------
    UserError
        If another process has locked it.
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


@functools.cache  # each reads a file of the installed package
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which the numbers depend."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
