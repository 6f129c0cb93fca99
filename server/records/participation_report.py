"""Writes the distribution from which cohorts are drawn to a file."""

from pathlib import Path

from common.client_tables import write_table
from server.participation import Participation


def write_participation(path: Path, participation: Participation) -> None:
    """Write a row per client: ``client_id,probability,inclusion``; nothing if the scheme has no distribution.

    ``inclusion`` is the probability of being in the cohort of a round. It is m times that of being drawn
    first only if all clients are alike.
    """
    probabilities, inclusion = participation.scheme.probabilities(), participation.scheme.inclusion()
    if probabilities is not None and inclusion is not None:
        write_table(path, {"probability": probabilities, "inclusion": inclusion})
