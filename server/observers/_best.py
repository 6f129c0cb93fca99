"""The last and the best evaluated round, for the summary."""

from collections.abc import Mapping
from typing import Any

from server.observers._observer import Observer, Round
from server.parts import Parts


class Best(Observer):
    """Keeps the losses and accuracies of the last evaluated round and of that with the best test accuracy."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.best: dict[str, Any] = {}
        self.final: dict[str, Any] = {}

    def on_round(self, current: Round) -> None:
        """Compare an evaluated round with the best one; the initial model does not count as one."""
        row = current.row
        if "test_accuracy" not in row:
            return
        evaluated = {key: value for key, value in row.items() if "_loss" in key or "_accuracy" in key}
        self.final = {"round": current.number, **evaluated}
        if current.number > 0 and row["test_accuracy"] > self.best.get("test_accuracy", -1.0):
            self.best = dict(self.final)

    def summary(self) -> dict[str, Any]:
        """Return the columns of ``summary.json``."""
        return {
            **{f"final.{key}": value for key, value in self.final.items() if key != "round"},
            **{f"best.{key}": value for key, value in self.best.items()},
        }

    def state(self) -> dict[str, Any]:
        """Return both rounds."""
        return {"best": self.best, "final": self.final}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up both rounds."""
        self.best, self.final = state["best"], state["final"]
