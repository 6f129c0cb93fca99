"""Tracking with Weights & Biases, offline: ``wandb sync RUN/tracking/wandb/wandb/offline-run-*`` uploads."""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.sections import Value
from server.observers._tracker import Tracker

PROJECT = "flowerbed"


class Wandb(Tracker):
    """Writes the rows of ``metrics.csv`` as the history of one run, which keeps its id when it is resumed.

    Its folder has the whole history: uploading it again replaces what was uploaded before.
    """

    PACKAGES = ("wandb",)
    EXTRA = "wandb"

    _run: Any = None

    def open(self, folder: Path, title: str, config: Mapping[str, Value]) -> None:
        """Begin the run; what an earlier process wrote of it is replaced."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        id_file = folder / "id"
        if not id_file.is_file():
            id_file.write_text(secrets.token_hex(4))
        identity = id_file.read_text().strip()
        for old in (folder / "wandb").glob(f"offline-run-*-{identity}"):
            shutil.rmtree(old)
        self._run = wandb.init(
            mode="offline",
            project=PROJECT,
            id=identity,
            name=title,
            group=title.partition("/")[0],
            dir=str(folder),
            config=dict(config),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write a step of the history."""
        self._run.log(dict(values), step=step)

    def close(self, is_complete: bool) -> None:
        """Finish the run; one that was stopped early counts as failed until it is resumed."""
        self._run.finish(exit_code=0 if is_complete else 1)
