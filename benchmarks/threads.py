"""Clients in threads of one process against one after the other.

Beside the seconds that a round's clients take, there is what the kernel says of each thread (Linux's
schedstat): how long it computed, and how long it waited for a processor that others had. The rest of the time
it was blocked, by other threads or by the interpreter's lock. On a busy machine computing and blocked
together estimate what a round would take on a quiet one. The estimate is good where the lock is held little:
threads that seldom have a processor at the same time seldom meet there.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from flwr.app import Message, MessageType

from benchmarks.harness import make_config, parser, run, show
from common.sections import Value
from runtimes.local_grid import LocalGrid
from runtimes.sequential import SequentialGrid
from runtimes.threads import ThreadsGrid

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


def watched(grid_class: type[SequentialGrid], rounds: list[Round]) -> Callable[..., LocalGrid]:
    """Return a class of Grid that notes its rounds."""

    class Watched(grid_class):  # type: ignore[misc, valid-type]
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            started, before = time.perf_counter(), _threads()
            for count, reply in enumerate(super().exchange(messages), 1):
                if count == len(messages) and messages[0].metadata.message_type == MessageType.TRAIN:
                    rounds.append(_round(time.perf_counter() - started, before, _threads()))
                yield reply

    return Watched


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--workers", type=int, default=2, help="threads")
    made.add_argument("--rounds", type=int, default=4, help="rounds per turn, after one that is not counted")
    made.add_argument("--turns", type=int, default=3, help="turns of either runtime")
    options = made.parse_args(arguments)
    if options.tiny:
        options.rounds, options.turns = 1, 1
    rows: list[tuple[object, ...]] = []
    for name, overrides in list(CASES.items())[: 1 if options.tiny else None]:
        common: dict[str, Value] = {
            "partition__name": "iid", "clients__count": 100, "rounds": options.rounds + 1,
            "evaluate__every": 10**6, "dataset__root": ".",
        }  # fmt: skip
        one = make_config(**common, **overrides)
        several = make_config(
            runtime__name="threads", runtime__workers=options.workers, **common, **overrides
        )
        taken: dict[str, list[Round]] = {"one after the other": [], f"{options.workers} threads": []}
        for _ in range(options.turns):
            for config, grid_class, rounds in zip(
                (one, several), (SequentialGrid, ThreadsGrid), taken.values(), strict=True
            ):
                turn: list[Round] = []
                run(config, watched(grid_class, turn))
                rounds += turn[1:]
        for runtime, rounds in taken.items():
            columns = (median(each[key] for each in rounds) for key in ("all", "computing", "blocked"))
            rows.append((name, runtime, *(f"{value:.3f}" for value in columns)))
    columns = ("case", "runtime", "seconds", "busiest thread computing", "blocked")
    show(f"Training of a round, medians of {options.rounds * options.turns}", columns, rows)


if __name__ == "__main__":
    main()
