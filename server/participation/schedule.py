"""Cohorts from a file, so that two methods or two systems train exactly the same clients."""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from common.errors import UserError, shown
from common.files import expanded, read_text
from common.reading import parse_json
from server.participation._scheme import Facts, ParticipationScheme, SelectionContext


class Schedule(ParticipationScheme):
    """Takes the cohort of each round from ``participation.file``; ``clients.fraction`` does not matter.

    The file is CSV with the columns ``round`` and ``client_id``, such as the ``clients.csv`` of any run, or
    JSON: ``{"1": [4, 7], "2": [0, 7], ...}``, or the list ``[[4, 7], [0, 7], ...]`` that begins with round 1.
    """

    keeps_cohort_size = False
    uses_fraction = False

    file: str = ""

    def begin_run(self, facts: Facts) -> None:
        """Read the file."""
        if not self.file:
            raise UserError(
                "participation.name 'schedule' needs participation.file, the clients.csv of a run, or JSON"
            )
        path = expanded(self.file, "participation.file")
        self._cohorts = read_schedule(path)
        _check(self._cohorts, path, facts)

    def select(self, selection: SelectionContext) -> list[int]:
        """Return the cohort of the round."""
        return self._cohorts[selection.server_round]


def read_schedule(path: Path) -> dict[int, list[int]]:
    """Read a schedule as round → client ids, ascending.

    Raises
    ------
    UserError
        If there is no such file, or it is not a schedule.
    """
    text = read_text(path, "participation.file")
    cohorts: dict[int, list[int]] = {}
    try:
        pairs = _json_pairs(text, path) if path.suffix == ".json" else _csv_pairs(text)
        for server_round, client in pairs:
            cohorts.setdefault(server_round, []).append(client)
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"participation.file: {path} is not a schedule ({error}); it must be CSV"
            ' with the columns round and client_id, or JSON such as {"1": [4, 7]}'
        ) from None
    return {server_round: sorted(cohort) for server_round, cohort in cohorts.items()}


def _csv_pairs(text: str) -> Iterator[tuple[int, int]]:
    rows = csv.DictReader(text.splitlines())
    for column in ("round", "client_id"):
        if column not in (rows.fieldnames or ()):
            raise ValueError(f"it has no column {column}")
    for row in rows:
        yield _number(row["round"], "a round"), _number(row["client_id"], "a client id")


def _json_pairs(text: str, path: Path) -> Iterator[tuple[int, int]]:
    content = parse_json(text, f"participation.file: {path}")
    if not isinstance(content, list | dict):
        raise ValueError("it is neither a list nor an object")
    rounds = enumerate(content, start=1) if isinstance(content, list) else content.items()
    for server_round, cohort in rounds:
        if not isinstance(cohort, list):
            raise ValueError(f"the cohort of round {server_round} is {shown(cohort)}, not a list")
        for client in cohort:
            if type(client) is not int:
                raise ValueError(f"{shown(client)} is not a client id")
            yield _number(str(server_round), "a round"), client


def _number(text: str | None, what: str) -> int:
    """Read a whole number: digits, perhaps after a minus sign; ``int`` takes more, such as ``1_0``."""
    if text is None or not re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text):
        raise ValueError(f"{shown(text or '')} is not {what}")
    return int(text)


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
