"""Cohorts that are given in a file, so that two methods or two systems train the very same clients."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import expanded, read_text
from server.participation._scheme import Facts, ParticipationScheme, SelectionContext


class Schedule(ParticipationScheme):
    """Takes the cohort of each round from ``participation.file``; ``clients.fraction`` does not matter.

    The file is CSV with the columns ``round`` and ``client_id``, such as the ``clients.csv`` of any run, or
    JSON: ``{"1": [4, 7], "2": [0, 7], ...}``, or the list ``[[4, 7], [0, 7], ...]`` that begins with round 1.
    """

    keeps_cohort_size = False

    file: str = ""

    def prepare(self, facts: Facts) -> None:
        """Read the file."""
        if not self.file:
            raise UserError(
                "participation 'schedule' needs participation.file: a clients.csv of another run, or JSON"
            )
        path = expanded(self.file, "participation.file")
        self._cohorts = read_schedule(path)
        _check(self._cohorts, path, facts)

    def select(self, selection: SelectionContext) -> list[int]:
        """Look the cohort up."""
        return self._cohorts[selection.server_round]


def read_schedule(path: Path) -> dict[int, list[int]]:
    """Read a schedule as round → client ids, ascending.

    Raises
    ------
    UserError
        If there is no such file, or it holds no schedule.
    """
    text = read_text(path, "participation.file")
    cohorts: dict[int, list[int]] = {}
    try:
        for server_round, client in _json_pairs(text) if path.suffix == ".json" else _csv_pairs(text):
            cohorts.setdefault(server_round, []).append(client)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f"participation.file: {path} is not a schedule ({type(error).__name__}: {error}); it must be CSV"
            ' with the columns round and client_id, or JSON such as {"1": [4, 7]}'
        ) from None
    return {server_round: sorted(cohort) for server_round, cohort in cohorts.items()}


def _csv_pairs(text: str) -> Iterator[tuple[int, int]]:
    for row in csv.DictReader(text.splitlines()):
        yield int(row["round"]), int(row["client_id"])


def _json_pairs(text: str) -> Iterator[tuple[int, int]]:
    try:
        content: Any = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    rounds = enumerate(content, start=1) if isinstance(content, list) else content.items()
    for server_round, cohort in rounds:
        for client in cohort:
            if type(client) is not int:
                raise ValueError(f"{client!r} is not a client id")
            yield int(server_round), client


def _check(cohorts: Mapping[int, list[int]], path: Path, facts: Facts) -> None:
    for server_round in range(1, facts.rounds + 1):
        cohort = cohorts.get(server_round)
        if cohort is None:
            raise UserError(
                f"participation.file: {path} has no cohort for round {server_round}; lower rounds"
            )
        if len(set(cohort)) < len(cohort):
            raise UserError(f"participation.file: {path} names a client twice in round {server_round}")
        if outside := [client for client in cohort if not 0 <= client < facts.num_clients]:
            raise UserError(
                f"participation.file: {path} calls client {outside[0]} in round {server_round}, but"
                f" clients.count is {facts.num_clients}"
            )
