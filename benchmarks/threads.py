"""Clients in threads of one process against one after the other.

Beside the seconds that a round's clients take, there is what the kernel says of each thread (Linux's
schedstat): how long it computed, and how long it waited for a processor that others had. The rest of the time
it was blocked, by other threads or by the interpreter's lock. On a busy machine computing and blocked
together estimate what a round would take on a quiet one. The estimate is good where the lock is held little:
threads that seldom have a processor at the same time seldom meet there.
"""

import argparse
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from flwr.app import Message, MessageType

from benchmarks.harness import make_config, parser, scratch_folder, show
from common.sections import Value
from runtimes.run import make_grid
from server.experiment import run_experiment
from server.records.progress import NoProgress

CASES: dict[str, dict[str, Value]] = {
    "perceptron, 16 clients, 5 steps of 16": {
        "model__name": "mlp", "clients__fraction": 0.16, "local__steps": 5, "local__batch_size": 16,
    },
    "LeNet, 10 clients, 10 steps of 32": {
        "model__name": "lenet", "clients__fraction": 0.1, "local__steps": 10, "local__batch_size": 32,
    },
    "small CNN, 10 clients, 10 steps of 10": {
        "model__name": "small-cnn", "clients__fraction": 0.1, "local__steps": 10, "local__batch_size": 10,
    },
    "Hsu CNN, 10 clients, 2 steps of 64": {
        "model__name": "hsu-cnn", "clients__fraction": 0.1, "local__steps": 2, "local__batch_size": 64,
    },
}  # fmt: skip


class Round(dict[str, float]):
    """Seconds of a round's training: ``all``, and ``computing`` and ``blocked`` of its busiest thread."""


def rounds_of(keys: Mapping[str, Value]) -> list[Round]:
    """Make a run and return its rounds of training but the first, in which the data are opened."""
    rounds: list[Round] = []
    config = make_config(**keys, run__directory=str(scratch_folder() / "run"))
    with make_grid(config) as grid:
        exchange = grid.exchange

        def watched(messages: list[Message]) -> Iterator[Message]:
            started, before = time.perf_counter(), _threads()
            for count, reply in enumerate(exchange(messages), 1):
                if count == len(messages) and messages[0].metadata.message_type == MessageType.TRAIN:
                    rounds.append(_round(time.perf_counter() - started, before, _threads()))
                yield reply

        grid.exchange = watched  # type: ignore[method-assign]
        run_experiment(config, grid, NoProgress())
    return rounds[1:]


def _threads() -> dict[int, tuple[float, float]]:
    """Return what each thread of this process has computed and waited for a processor, in seconds."""
    found = {}
    for thread in threading.enumerate():
        path = Path(f"/proc/self/task/{thread.native_id}/schedstat")
        if thread.native_id is not None and path.exists():
            computing, waiting = path.read_text().split()[:2]
            found[thread.native_id] = (int(computing) / 1e9, int(waiting) / 1e9)
    return found


def _round(
    seconds: float, before: dict[int, tuple[float, float]], after: dict[int, tuple[float, float]]
) -> Round:
    spent = {
        thread: tuple(
            now - then for now, then in zip(after[thread], before.get(thread, (0.0, 0.0)), strict=True)
        )
        for thread in after
    }
    computing, waiting = max(spent.values(), default=(seconds, 0.0))
    return Round(all=seconds, computing=computing, blocked=max(0.0, seconds - computing - waiting))


def turns_of(
    runtime: str, description: str | None, arguments: Sequence[str] | None
) -> tuple[argparse.Namespace, Iterator[tuple[str, list[Round], list[Round]]]]:
    """Return the options, and for each case its rounds one after the other and in a runtime, in turns."""
    made = parser(description)
    made.add_argument("--workers", type=int, default=2, help=f"workers of the runtime '{runtime}'")
    made.add_argument("--rounds", type=int, default=4, help="rounds per turn, after one that is not counted")
    made.add_argument("--turns", type=int, default=3, help="turns of either runtime")
    options = made.parse_args(arguments)
    if options.tiny:
        options.rounds, options.turns = 1, 1

    def turns() -> Iterator[tuple[str, list[Round], list[Round]]]:
        for name, overrides in list(CASES.items())[: 1 if options.tiny else None]:
            common: dict[str, Value] = {
                "partition__name": "iid", "clients__count": 100, "rounds": options.rounds + 1,
                "evaluate__every": 10**6, "dataset__root": ".", **overrides,
            }  # fmt: skip
            other: dict[str, Value] = {"runtime__name": runtime, "runtime__workers": options.workers}
            one: list[Round] = []
            several: list[Round] = []
            for _ in range(options.turns):
                one += rounds_of(common)
                several += rounds_of(common | other)
            yield name, one, several

    return options, turns()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options, turns = turns_of("threads", __doc__, arguments)
    rows: list[tuple[object, ...]] = []
    for name, *taken in turns:
        for runtime, rounds in zip(("one after the other", f"{options.workers} threads"), taken, strict=True):
            columns = (median(each[key] for each in rounds) for key in ("all", "computing", "blocked"))
            rows.append((name, runtime, *(f"{value:.3f}" for value in columns)))
    columns = ("case", "runtime", "seconds", "busiest thread computing", "blocked")
    show(f"Training of a round, medians of {options.rounds * options.turns}", columns, rows)


if __name__ == "__main__":
    main()
