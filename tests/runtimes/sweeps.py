"""A small sweep, and what is read of its runs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SMALL_RUN

SWEEP = """
rounds = 2
model.name = "mlp"
checkpoint.every = 1
[axes.method.fedavg]
method.name = "fedavg"
[axes.method.scaffold]
method.name = "scaffold"
[axes.split.iid]
partition.name = "iid"
[axes.split.nc2]
partition.name = "classes"
partition.classes-per-client = 2
[cells."scaffold,*"]
optimizer.learning-rate = 0.03
[report.published]
"fedavg,iid" = 90.5
"""

NAMES = ["fedavg,iid", "fedavg,nc2", "scaffold,iid", "scaffold,nc2"]

OF_SWEEP = ("rounds", "checkpoint.every", "model.name", "model.hidden", "model.dropout")

SMALL = {key: value for key, value in SMALL_RUN.items() if key not in OF_SWEEP}

Sweeper = Callable[..., int]

Output = pytest.CaptureFixture[str]


def summary(run_directory: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((run_directory / "summary.json").read_text())
    return content


def hashes(directory: Path, names: list[str] = NAMES) -> dict[str, object]:
    return {name: summary(directory / name)["model_sha256"] for name in names}
