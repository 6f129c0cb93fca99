"""Setup of the other machines of a Ray cluster, and the error for one that lacks the data."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import ray

from common.config import Config
from common.errors import UserError
from common.sections import Value
from datasets.configured import open_dataset

_PATHS = ("dataset.root", "partition.file", "model.weights")  # read by workers


def with_absolute_paths(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return a flat configuration with relative paths resolved in this process's working directory.

    A worker of a cluster has another one, with the code that was sent to it and no data. A path that begins
    with ``~`` is not changed: each machine has its own home.
    """

    def absolute(key: str, value: Value) -> Value:
        is_path = key in _PATHS and isinstance(value, str) and value and not value.startswith("~")
        return os.path.abspath(value) if is_path else value  # type: ignore[type-var]

    return {key: absolute(key, value) for key, value in values.items()}


def what_is_lacking(config: Config) -> str:
    """Read the run's data, which the server can read; return why this machine cannot, or an empty text."""
    try:
        open_dataset(config)
    except UserError as error:
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        node = f"{socket.gethostname()} ({address})"
        folder = Path(config.dataset.root).absolute()
        return (
            f"the Ray node {node} cannot read the data that the server has read: {error}; put them in"
            f" {folder} there as well, or set dataset.root to a folder that all nodes share"
        )
    return ""
