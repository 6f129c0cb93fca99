"""Rounds of one local step: what a synchronisation costs where there is hardly anything to compute.

Parallel SGD is Local SGD with one step a round, so that its runs have thousands of rounds. Each case is a run
of the sequential runtime with a perceptron of 4810 parameters on random images of 8x8 pixels. It takes the
processor time of a run less that of a short one, so that neither start and evaluation nor other processes
count.
"""

import argparse
import time
from pathlib import Path

from benchmarks.harness import make_config, random_images, run, show
from datasets.images.raw import RawDataset
from datasets.images.sources import source

WARM_UP = 50


@source("benchmark-points")
def benchmark_points(root: Path, download: bool) -> RawDataset:
    """Make small random images, so that rounds cost more than steps."""
    return random_images((1, 8, 8), 5_000)


def processor_seconds(rounds: int, clients: int, method: str, sampling: str) -> float:
    """Return the processor time of a run."""
    config = make_config(
        rounds=rounds,
        dataset__name="benchmark-points",
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    rounds = parser.parse_args().rounds
    rows: list[tuple[object, ...]] = []
    for clients, method, sampling in (
        (1, "localsgd", "shuffle"),
        (4, "fedavg", "client"),
        (4, "localsgd", "shuffle"),
        (16, "localsgd", "shuffle"),
    ):
        short, long = (
            processor_seconds(number, clients, method, sampling) for number in (WARM_UP, WARM_UP + rounds)
        )
        seconds = (long - short) / rounds
        rows.append(
            (method, clients, f"{1000 * seconds:.2f}", f"{1 / seconds:.0f}", f"{clients / seconds:.0f}")
        )
    columns = ("method", "workers", "ms per round", "rounds per s", "worker-steps per s")
    show(f"One local step a round, {rounds} rounds", columns, rows)


if __name__ == "__main__":
    main()
