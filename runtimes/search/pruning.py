"""Prunes a trial whose curve is worse than those of the others, by Optuna's pruner."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.number_text import fixed
from common.search.table import Search
from common.search.trials import PRUNED, Trial, read_trials
from runtimes.search.sampling import distributions, study_of
from server.observers import Observer, Round
from server.parts import Parts


@dataclass
class _Here:
    """The trial that this process runs."""

    search: Search
    directory: Path
    number: int


_here: list[_Here] = []


@contextmanager
def pruning(search: Search, directory: Path, number: int) -> Iterator[None]:
    """Within the block, set the trial and the search that `Pruning` is about."""
    _here.append(_Here(search, directory, number))
    try:
        yield
    finally:
        _here.pop()


class Pruning(Observer):
    """Stops a run that should be pruned; outside a search it does nothing."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.curve: dict[str, float] = {}  # round, as text for the checkpoint → objective

    def stop_reason(self, current: Round) -> str:
        """Return why the trial is pruned, or an empty text; the last round is never pruned."""
        value = current.row.get(_here[-1].search.objective) if _here else None
        if value is None:
            return ""
        self.curve = {**self.curve, str(current.number): float(value)}
        if current.number == self.parts.config.rounds or not self._is_poor():
            return ""
        objective = _here[-1].search.objective
        shown = f"{objective} {fixed(value, 4)} in round {current.number}"
        return f"{PRUNED}: {shown} is worse than the others' median"

    def _is_poor(self) -> bool:
        here = _here[-1]
        others = [
            trial
            for trial in read_trials(here.directory, here.search.objective)
            if trial.number != here.number and trial.state in ("finished", "pruned")
        ]
        curves = {trial.number: _curve(trial, here.search.objective) for trial in others}
        study = study_of(here.search, others, distributions(here.search.keys), curves=curves)
        asked = study.ask()
        for server_round, value in self.curve.items():
            asked.report(value, int(server_round))
        return bool(asked.should_prune())

    def state(self) -> dict[str, Any]:
        """Return the curve so far."""
        return {"curve": self.curve}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self.curve = dict(state["curve"])


def _curve(trial: Trial, objective: str) -> dict[int, float]:
    """Return round → objective of another trial, without its initial model."""
    with (trial.path / "metrics.csv").open(encoding="utf-8") as file:
        rows = [(int(row["round"]), row.get(objective)) for row in csv.DictReader(file)]
    return {server_round: float(value) for server_round, value in rows if value and server_round}
