"""Clients of a cohort trained as one stack against one by one.

A round is what is sent, trained, sent back and averaged, in processor time of this process, which has one
thread; both contenders make it in turns, and the best of each counts. "Steps alone" is the difference that
further local steps make to a round, so that messages and averages, which both have, do not count.
"""

import time
from collections.abc import Callable, Sequence

from flwr.app import ConfigRecord

from benchmarks.harness import make_config, parser, random_images, show
from clients.app import app
from common.device import prepare_process
from common.records import LOCAL_STEPS, SERVER_ROUND
from common.sections import Value
from datasets.arrays import Arrays
from runtimes.sequential import SequentialGrid
from server.preparation import make_parts

PERCEPTRON = "perceptron, 4810 parameters"
CASES: dict[str, dict[str, Value]] = {
    PERCEPTRON: {"model__name": "mlp"},
    "LeNet": {"model__name": "lenet", "dataset__name": "benchmarks.stacked:benchmark_squares"},
    "small CNN": {"model__name": "small-cnn", "dataset__name": "benchmarks.stacked:benchmark_squares"},
}


def benchmark_points() -> Arrays:
    """Make random images of 8x8 pixels."""
    return random_images((1, 8, 8), 10_000)


def benchmark_squares() -> Arrays:
    """Make random images of 28x28 pixels."""
    return random_images((1, 28, 28), 5_000)


class Rounds:
    """Rounds of a run of FedAvg with momentum, batches of 16 unless the case has others, and all clients."""

    def __init__(
        self, case: dict[str, Value], clients: int, clock: Callable[[], float] = time.process_time
    ) -> None:
        keys: dict[str, Value] = {
            "dataset__name": "benchmarks.stacked:benchmark_points",
            "clients__count": clients,
            "partition__name": "iid",
            "local__batch_size": 16,
            "optimizer__momentum": 0.9,
            **case,
        }
        config = make_config(**keys)
        self._clients, self._clock = clients, clock
        self._grid = SequentialGrid(app, clients, config.flat())
        parts = make_parts(config, self._grid)
        self._strategy, self._arrays = parts.strategy, parts.evaluation.initial_arrays()

    def seconds(self, steps: int, stack: int) -> float:
        """Return the time of a round of a number of local steps, by the clock: processor time by default."""
        self._grid.stack = stack
        config = ConfigRecord({SERVER_ROUND: 1, LOCAL_STEPS: steps})
        started = self._clock()
        messages = self._strategy.configure_train(1, self._arrays, config, self._grid)
        self._strategy.aggregate_train(1, self._grid.send_and_receive(messages))
        return self._clock() - started

    def close(self) -> None:
        """Let go of the data and the model."""
        self._grid.close()

    def on_note(self, say: Callable[[str], None]) -> None:
        """Hand lines such as why clients are not stacked to a function."""
        self._grid.say = say

    def best(self, steps: int, turns: int) -> tuple[float, float]:
        """Return the least times, one by one and stacked."""
        pairs = [[self.seconds(steps, stack) for stack in (1, self._clients)] for _ in range(turns + 1)]
        alone, stacked = (min(times[1:]) for times in zip(*pairs, strict=True))  # the first one warms up
        return alone, stacked


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--turns", type=int, default=5, help="turns of each contender")
    made.add_argument("--more", type=int, default=10, help="further local steps")
    made.add_argument(
        "--models", nargs="*", choices=list(CASES), default=list(CASES), metavar="MODEL", help="only these"
    )
    options = made.parse_args(arguments)
    turns, more = (1, 1) if options.tiny else (options.turns, options.more)
    prepare_process(1)
    rows: list[tuple[object, ...]] = []
    for name in options.models[: 1 if options.tiny else None]:
        case = CASES[name]
        for clients in (3,) if options.tiny else (16, 100) if name == PERCEPTRON else (16,):
            rounds = Rounds(case, clients)
            short, long = rounds.best(1, turns), rounds.best(1 + more, turns)
            alone, stacked = (
                [clients / a, clients * more / max(b - a, 1e-9)] for a, b in zip(short, long, strict=True)
            )
            for what, one, many in zip(("rounds of one step", "steps alone"), alone, stacked, strict=True):
                rows.append((name, clients, what, f"{one:.0f}", f"{many:.0f}", f"{many / one:.2f}"))
    columns = ("model", "clients", "what", "one by one", "stacked", "ratio")
    show("Worker-steps per second of processor time, one thread", columns, rows)


if __name__ == "__main__":
    main()
