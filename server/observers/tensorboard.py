"""Tracking with TensorBoard: ``tensorboard --logdir RUN`` (or a folder of runs) shows the curves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.sections import Value
from server.observers._tracker import Tracker


class TensorBoard(Tracker):
    """Writes scalars named as the columns of ``metrics.csv``, and the configuration as text."""

    PACKAGES = ("tensorboard",)
    EXTRA = "tensorboard"

    _writer: Any = None

    def open(self, folder: Path, title: str, config: Mapping[str, Value]) -> None:
        """Begin an event file, which makes a TensorBoard that watches forget what it had."""
        from torch.utils.tensorboard import SummaryWriter

        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=0)  # type: ignore[no-untyped-call]
        lines = [f"    {key} = {json.dumps(value)}" for key, value in config.items()]  # Markdown code
        self._writer.add_text("config", "\n".join(lines))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write a scalar per column."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, is_complete: bool) -> None:
        """Close the event file."""
        self._writer.close()
