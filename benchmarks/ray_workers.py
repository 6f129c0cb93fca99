"""Clients on Ray workers of this machine against one after the other in this process.

What is timed is a round's training: from the first message sent to the last reply received. Starting Ray,
which takes seconds, and a first round, in which workers open the data, are left out.
"""

from collections.abc import Sequence
from statistics import median

from benchmarks.harness import show
from benchmarks.threads import turns_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options, turns = turns_of("ray", __doc__, arguments)
    rows: list[tuple[object, ...]] = []
    for name, *taken in turns:
        one, several = (median(each["all"] for each in rounds) for rounds in taken)
        rows.append((name, f"{one:.3f}", f"{several:.3f}", f"{one / several:.2f}"))
    columns = ("case", "one after the other", f"{options.workers} Ray workers", "ratio")
    show(f"Training of a round, seconds, medians of {options.rounds * options.turns}", columns, rows)


if __name__ == "__main__":
    main()
