"""Start, round and memory against the number of clients, and a checkpoint against the states that exist.

The data are a sample of eight numbers per client, the model is linear, a cohort has 100 clients with one
local step each. Seconds are the processor's, but for checkpoints, which wait for the disk.
"""

import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import make_config, parser, scratch_folder, show
from clients.app import app
from common.config import Config
from common.records import Payload
from datasets.arrays import Arrays
from datasets.configured import open_dataset
from runtimes.sequential import SequentialGrid
from server.checkpoints.checkpoint import Checkpoint, CheckpointStore
from server.experiment import run_experiment
from server.records.progress import NoProgress
from server.records.run_directory import peak_rss_mb

COHORT = 100


def samples(root: Path, *, clients: int = 1000) -> Arrays:
    """Make a sample per client, of ten classes."""
    inputs = np.random.default_rng(0).standard_normal((clients, 8), dtype=np.float32)
    targets = np.arange(clients) % 10
    return Arrays((inputs, targets), (inputs[:100], targets[:100]), kind="features")


class Stopwatch(NoProgress):
    """Notes the processor's time at the start of the rounds and after each; `began` is when they did."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.began = 0.0

    def start(self, finished: int, total: int) -> None:
        """Note the time."""
        self.began = time.perf_counter()
        self.times.append(time.process_time())

    def show(self, row: object) -> None:
        """Note the time."""
        self.times.append(time.process_time())


def configuration(clients: int, rounds: int, labels: bool = True) -> Config:
    """Return the configuration of a run."""
    return make_config(
        dataset__name="benchmarks.many_clients:samples",
        dataset__clients=clients,
        model__name="linear",
        partition__name="iid",
        clients__count=clients,
        clients__fraction=min(1.0, COHORT / clients),
        clients__report_labels=labels,
        rounds=rounds,
        local__steps=1,
        local__epochs=0,
        evaluate__every=rounds,
        run__directory=str(scratch_folder() / "run"),
    )


def measure(clients: int, rounds: int, labels: bool = True) -> tuple[float, float, float]:
    """Return the seconds of the start beyond reading the data, and of a median round; and the peak in MB."""
    config, watch = configuration(clients, rounds, labels), Stopwatch()
    open_dataset(config)
    started = time.process_time()
    with SequentialGrid(app, clients, config.flat()) as grid:
        run_experiment(config, grid, watch)
    return watch.times[0] - started, float(np.median(np.diff(watch.times[1:]))), peak_rss_mb()


def checkpoint_seconds(visited: int, changed: int) -> float:
    """Return the seconds of a checkpoint in which some of the clients with state have changed, best of 5."""
    store = CheckpointStore(scratch_folder() / "checkpoints")
    state: Payload = {"control": {"weight": torch.zeros(10, 8), "bias": torch.zeros(10)}}
    weights = {"weight": torch.zeros(10, 8), "bias": torch.zeros(10)}
    seconds = []
    for number in range(1, 8):
        ids = range(visited) if number == 1 else range(number, visited, max(1, visited // changed))
        started = time.perf_counter()
        saved = Checkpoint(number, weights, ({}, {}), {}, {})
        store.commit(saved, ((client_id, state) for client_id in ids))
        seconds.append(time.perf_counter() - started)
    return min(seconds[2:])  # the first two begin the lists


class Paced(NoProgress):
    """Reports the processor's time of each round, and begins the next one when it is asked to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._began = 0.0

    def show(self, row: object) -> None:
        """Report the round before, and wait."""
        self._connection.send(time.process_time() - self._began)
        self._connection.recv()
        self._began = time.process_time()


def paced_run(clients: int, rounds: int, connection: Connection) -> None:
    """Run in a process of its own."""
    torch.set_num_threads(1)
    config = configuration(clients, rounds)
    with SequentialGrid(app, clients, config.flat()) as grid:
        run_experiment(config, grid, Paced(connection))


def side_by_side(counts: Sequence[int], rounds: int) -> np.ndarray:
    """Return the seconds of rounds that processes, one for each number of clients, begin together.

    What else the machine does then weighs on all of them alike.
    """
    spawn = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for clients in counts:
        here, there = spawn.Pipe()
        process = spawn.Process(target=paced_run, args=(clients, rounds, there), daemon=True)
        process.start()
        ends.append(here)
        processes.append(process)
    seconds = []
    for _ in range(rounds + 1):  # the first report is that of the initial model
        seconds.append([end.recv() for end in ends])
        for end in ends:
            end.send(None)
    for process in processes:
        process.join()
    return np.array(seconds[3:])  # the first rounds fill caches


def show_pairs(counts: tuple[int, int], pairs: int) -> None:
    """Print how much longer a round with the second number of clients takes."""
    seconds = side_by_side(counts, pairs + 2)
    ratios = seconds[:, 1] / seconds[:, 0]
    low, median, high = np.percentile(ratios, [25, 50, 75])
    fastest = [f"{1000 * best:.0f}" for best in seconds.min(axis=0)]
    row = (len(ratios), f"{median:.2f}", f"{low:.2f}", f"{high:.2f}", *fastest)
    columns = ("pairs of rounds", "ratio, median", "quarter", "three quarters")
    show("Side by side", (*columns, *(f"{count} clients: fastest, ms" for count in counts)), [row])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    options = parser(__doc__)
    options.add_argument("--pairs", type=int, default=0, help="rounds side by side, and nothing else")
    given = options.parse_args(arguments)
    is_tiny = given.tiny
    torch.set_num_threads(1)
    if given.pairs:
        show_pairs((200, 300) if is_tiny else (1_000, 1_000_000), given.pairs)
        return
    counts = (200, 300) if is_tiny else (1_000, 10_000, 100_000, 1_000_000)
    rows: list[tuple[object, ...]] = []
    for clients, labels in (*((count, True) for count in counts), (counts[-1], False)):
        start, seconds, peak = measure(clients, 2 if is_tiny else 15, labels)
        rows.append((clients, labels, f"{start:.2f}", f"{1000 * seconds:.0f}", f"{peak:.0f}"))
    show("A run", ("clients", "report-labels", "start, s", "round, ms", "peak memory, MB"), rows)
    visited = (50, 100) if is_tiny else (1_000, 10_000, 100_000)
    commits: list[tuple[object, ...]] = [
        (count, f"{1000 * checkpoint_seconds(count, COHORT):.0f}") for count in visited
    ]
    show("A checkpoint in which 100 clients have changed", ("clients with state", "ms"), commits)


if __name__ == "__main__":
    main()
