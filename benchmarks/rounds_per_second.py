"""Rounds of one local step: what a synchronisation costs where there is hardly anything to compute.

Parallel SGD is Local SGD with one step a round, so that its runs have thousands of rounds. Each case is a run
of the sequential runtime with a perceptron of 4810 parameters on random images of 8x8 pixels. It takes the
processor time of a run less that of a short one, so that neither start and evaluation nor other processes
count.
"""

import time
from collections.abc import Sequence

from benchmarks.harness import make_config, parser, random_images, run, show
from datasets.arrays import Arrays

WARM_UP = 50


def benchmark_points() -> Arrays:
    """Make small random images, so that rounds cost more than steps."""
    return random_images((1, 8, 8), 5_000)


def processor_seconds(rounds: int, clients: int, method: str, sampling: str) -> float:
    """Return the processor time of a run."""
    config = make_config(
        rounds=rounds,
        dataset__name="benchmarks.rounds_per_second:benchmark_points",
        model__name="mlp",
        method__name=method,
        clients__count=clients,
        clients__fraction=1.0,
        partition__name="iid",
        local__epochs=0,
        local__steps=1,
        local__batch_size=16,
        optimizer__momentum=0.9,
        local__sampling=sampling,
        evaluate__every=rounds,
    )
    started = time.process_time()
    run(config)
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=1000, help="rounds of each run")
    options = made.parse_args(arguments)
    warm_up, rounds = (1, 3) if options.tiny else (WARM_UP, options.rounds)
    rows: list[tuple[object, ...]] = []
    for clients, method, sampling in (
        (1, "localsgd", "shuffle"),
        (4, "fedavg", "client"),
        (4, "localsgd", "shuffle"),
        (16, "localsgd", "shuffle"),
    )[: 2 if options.tiny else None]:
        short, long = (
            processor_seconds(number, clients, method, sampling) for number in (warm_up, warm_up + rounds)
        )
        seconds = (long - short) / rounds
        rows.append(
            (method, clients, f"{1000 * seconds:.2f}", f"{1 / seconds:.0f}", f"{clients / seconds:.0f}")
        )
    columns = ("method", "clients", "ms per round", "rounds per s", "client-steps per s")
    show(f"One local step a round, {rounds} rounds", columns, rows)


if __name__ == "__main__":
    main()
