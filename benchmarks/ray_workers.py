"""Clients on Ray workers of this machine against one after the other in this process.

What is timed is a round's training: from the first message sent to the last reply received. Starting Ray,
which takes seconds, and a first round, in which workers open the data, are left out.
"""

import time
from collections.abc import Iterator, Sequence
from statistics import median

from flwr.app import Message, MessageType

from benchmarks.harness import make_config, parser, scratch_folder, show
from benchmarks.threads import CASES
from common.config import Config
from common.sections import Value
from runtimes.run import make_grid
from server.experiment import run_experiment
from server.records.progress import NoProgress


def seconds_per_round(config: Config) -> list[float]:
    """Return the seconds of each round's training but the first."""
    seconds: list[float] = []
    with make_grid(config) as grid:
        exchange = grid.exchange

        def timed(messages: list[Message]) -> Iterator[Message]:
            started = time.perf_counter()
            for count, reply in enumerate(exchange(messages), 1):
                if count == len(messages) and messages[0].metadata.message_type == MessageType.TRAIN:
                    seconds.append(time.perf_counter() - started)
                yield reply

        grid.exchange = timed  # type: ignore[method-assign]
        run_experiment(config, grid, NoProgress())
    return seconds[1:]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--workers", type=int, default=2, help="Ray workers")
    made.add_argument("--rounds", type=int, default=4, help="rounds per turn, after one that is not counted")
    made.add_argument("--turns", type=int, default=3, help="turns of either runtime")
    options = made.parse_args(arguments)
    if options.tiny:
        options.rounds, options.turns = 1, 1
    rows: list[tuple[object, ...]] = []
    for name, overrides in list(CASES.items())[: 1 if options.tiny else None]:
        taken: dict[str, list[float]] = {"sequential": [], "ray": []}
        for _ in range(options.turns):
            for runtime, seconds in taken.items():
                keys: dict[str, Value] = {
                    "partition__name": "iid", "clients__count": 100, "rounds": options.rounds + 1,
                    "evaluate__every": 10**6, "run__directory": str(scratch_folder() / "run"),
                    "runtime__name": runtime, **overrides,
                }  # fmt: skip
                if runtime == "ray":
                    keys["runtime__workers"] = options.workers
                seconds += seconds_per_round(make_config(**keys))
        one, several = (median(seconds) for seconds in taken.values())
        rows.append((name, f"{one:.3f}", f"{several:.3f}", f"{one / several:.2f}"))
    columns = ("case", "one after the other", f"{options.workers} Ray workers", "ratio")
    show(f"Training of a round, seconds, medians of {options.rounds * options.turns}", columns, rows)


if __name__ == "__main__":
    main()
