"""Flowerbed, in one process: a run whose rounds wait to be asked for."""

import importlib.metadata
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.harness import make_config, scratch_folder
from benchmarks.peers.turns import rounds, workload
from clients.app import app
from datasets.arrays import Arrays
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import NoProgress


def images(root: Path, *, count: int = 50_000, size: int = 32) -> Arrays:
    """Make random images; the clients of a partition have equal shares of them."""
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    targets = np.arange(count) % 10
    return Arrays((inputs, targets), (inputs[:10], targets[:10]))


class _Asked(NoProgress):
    """Waits at the start and after every round until another one is asked for."""

    def start(self, finished: int, total: int) -> None:
        """Wait for the first."""
        self._rounds = rounds(importlib.metadata.version("flowerbed"), counts=False)
        self.show({})

    def show(self, row: Mapping[str, float]) -> None:
        """Wait for the next; without one, end the run and the process."""
        if next(self._rounds, None) is None:
            raise SystemExit


def main() -> None:
    """Make the rounds that are asked for."""
    asked = workload()
    config = make_config(
        dataset__name="benchmarks.peers.flowerbed:images",
        dataset__count=asked.clients * asked.images,
        dataset__size=asked.size,
        model__name="small-cnn",
        partition__name="iid",
        clients__count=asked.clients,
        clients__fraction=asked.cohort / asked.clients,
        method__weighting="uniform",
        local__epochs=1,
        local__batch_size=asked.batch_size,
        local__channels_last="--channels-last" in sys.argv,
        optimizer__learning_rate=asked.rate,
        rounds=10**6,
        evaluate__every=10**6,
        run__directory=str(scratch_folder() / "run"),
    )
    run_experiment(config, SequentialGrid(app, asked.clients, config.flat()), _Asked())


if __name__ == "__main__":
    main()
