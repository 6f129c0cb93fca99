"""The first, the last and the best evaluated round, for the summary."""

from collections.abc import Mapping
from typing import Any

from server.observers._observer import Observer, Round
from server.parts import Parts
from server.records.results import is_better, is_evaluated, results_of


class Best(Observer):
    """Keeps the results of the first and the last evaluated round, and of the best one (``is_better``)."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.first: dict[str, Any] = {}
        self.best: dict[str, Any] = {}
        self.final: dict[str, Any] = {}

    def on_round(self, current: Round) -> None:
        """Compare an evaluated round with the best one; the initial model does not count."""
        row = current.row
        if not is_evaluated(row):
            return
        self.final = {"round": current.number, **results_of(row)}
        self.first = self.first or dict(self.final)
        if current.number > 0 and is_better(row, self.best):
            self.best = dict(self.final)

    def summary(self) -> dict[str, Any]:
        """Return the entries of ``summary.json``."""
        return {
            **{f"final.{key}": value for key, value in self.final.items() if key != "round"},
            **{f"best.{key}": value for key, value in self.best.items()},
        }

    def state(self) -> dict[str, Any]:
        """Return the rounds."""
        return {"first": self.first, "best": self.best, "final": self.final}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the rounds."""
        self.first, self.best, self.final = state.get("first", {}), state["best"], state["final"]
