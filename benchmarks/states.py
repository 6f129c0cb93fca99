"""SCAFFOLD in which every client has been visited: what keeping their states costs.

A sample of eight numbers per client and a linear model, as in ``many_clients``; the clients take turns in
groups of 100, so that all have been visited once. What they keep may take ``--budget`` MB of memory, the rest
waits in files. The one checkpoint at the end has the states of all clients; then the run is resumed, with a
checkpoint after every round, which has those of the 100 clients of the round. Seconds of rounds are the
processor's; those of checkpoints, which wait for the disk, and of the resumption are those that pass.
"""

import contextlib
import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.harness import make_config, parser, show
from benchmarks.many_clients import Stopwatch
from clients.app import app
from common.config import Config
from runtimes.sequential import SequentialGrid
from server.checkpoints.checkpoint import CheckpointStore
from server.experiment import run_experiment
from server.records.run_directory import peak_rss_mb

MORE = 6  # rounds after the resumption


@dataclass
class Taken:
    """What a part of a run took: processor seconds of rounds, seconds of checkpoints, states in memory."""

    rounds: list[float] = field(default_factory=list)
    commits: list[float] = field(default_factory=list)
    held: int = 0
    start: float = 0.0
    disk: float = 0.0


def configuration(clients: int, group: int, budget: int, directory: Path) -> Config:
    """Return the configuration of the run in which all are visited."""
    return make_config(
        dataset__name="benchmarks.many_clients:samples",
        dataset__clients=clients,
        model__name="linear",
        method__name="scaffold",
        partition__name="iid",
        clients__count=clients,
        participation__name="periodic",
        participation__group_size=group,
        rounds=clients // group,
        checkpoint__every=clients // group,
        local__steps=1,
        local__epochs=0,
        evaluate__every=clients // group,
        state__memory_budget=budget,
        runtime__stack=group,
        run__directory=str(directory),
    )


@contextlib.contextmanager
def timed_commits(seconds: list[float]) -> Iterator[None]:
    """Note how long each checkpoint takes, with asking the clients for what they keep."""
    commit = CheckpointStore.commit

    def timed(*arguments: object, **options: object) -> None:
        started = time.perf_counter()
        commit(*arguments, **options)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - started)

    with mock.patch.object(CheckpointStore, "commit", timed):
        yield


def measure(config: Config) -> Taken:
    """Run or resume, and return what it took."""
    taken, watch = Taken(), Stopwatch()
    started = time.perf_counter()
    with (
        timed_commits(taken.commits),
        SequentialGrid(app, config.clients.count, config.flat()) as grid,
    ):
        directory = run_experiment(config, grid, watch)
        taken.held = grid.states.num_held
        taken.disk = megabytes_of_disk(directory)
    taken.start = watch.began - started
    taken.rounds = np.diff(watch.times).tolist()
    return taken


def megabytes_of_disk(folder: Path) -> float:
    """Return what the files below a folder take of the disk, in MB."""
    return sum(path.lstat().st_blocks for path in folder.rglob("*")) * 512 / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    made = parser(__doc__)
    made.add_argument("--clients", type=int, default=100_000, help="number of clients")
    made.add_argument("--budget", type=int, default=8, help="state.memory-budget, MB")
    options = made.parse_args(arguments)
    clients, group = (40, 10) if options.tiny else (options.clients, 100)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        config = configuration(clients, group, options.budget, Path(folder) / "run")
        first = measure(config)
        gc.collect()
        more = {"rounds": config.rounds + MORE, "checkpoint.every": 1, "run.resume": True}
        second = measure(Config.from_flat({**config.flat(), **more}))
    tenth = max(1, len(first.rounds) // 10)
    early, late = (np.median(some) for some in (first.rounds[:tenth], first.rounds[-tenth:]))
    rows: list[tuple[object, ...]] = [
        ("processor ms of a round, the first tenth", f"{1000 * early:.0f}"),
        ("processor ms of a round, the last tenth", f"{1000 * late:.0f}"),
        ("states in memory at the end", first.held),
        ("peak memory, MB", f"{peak_rss_mb():.0f}"),
        ("disk at the end, MB", f"{first.disk:.0f}"),
        (f"checkpoint with {clients} new states, s", f"{first.commits[-1]:.2f}"),
        ("resuming, s", f"{second.start:.2f}"),
        (f"checkpoint with {group} new states, median s", f"{np.median(second.commits[:-1]):.2f}"),
    ]
    show(f"SCAFFOLD, {clients} clients visited, state.memory-budget = {options.budget}", ("what", ""), rows)


if __name__ == "__main__":
    main()
