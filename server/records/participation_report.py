"""What cohorts are drawn from, as a file."""

import csv
import io
from pathlib import Path

from common.files import write_atomic
from server.participation import Participation


def write_participation(path: Path, participation: Participation) -> None:
    """Write a row per client: ``client_id,probability,inclusion``; nothing if the scheme has no distribution.

    ``inclusion`` is the probability of being in the cohort of a round. It is m times that of being drawn
    first only if all clients are alike.
    """
    probabilities, inclusion = participation.scheme.probabilities(), participation.scheme.inclusion()
    if probabilities is None or inclusion is None:
        return
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["client_id", "probability", "inclusion"])
    for client, row in enumerate(zip(probabilities.tolist(), inclusion.tolist(), strict=True)):
        writer.writerow([client, *row])
    write_atomic(path, table.getvalue().encode())
