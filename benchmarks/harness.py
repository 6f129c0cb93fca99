"""What the benchmarks share."""

import argparse
import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from clients.app import app
from common.config import Config
from common.config_values import merge
from common.sections import Value
from datasets.arrays import Arrays
from runtimes.local_grid import LocalGrid
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import NoProgress
from server.records.run_directory import versions


def scratch_folder() -> Path:
    """Return a new folder, which is deleted when this process ends."""
    path = Path(tempfile.mkdtemp(prefix="benchmark-"))
    atexit.register(functools.partial(shutil.rmtree, path, ignore_errors=True))
    return path


class _ShowingDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but not that a flag is off or a list empty."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a benchmark's parser, with the option that all have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=_ShowingDefaults, allow_abbrev=False
    )
    made.add_argument(
        "--tiny", action="store_true", help="tiny sizes, to check that it runs: not for results"
    )
    return made


def benchmark_images() -> Arrays:
    """Make random images of CIFAR's size: the values do not change what a step costs."""
    return random_images((3, 32, 32), 50_000)


def random_images(shape: tuple[int, ...], num_training: int) -> Arrays:
    """Make a data set of random images of ten classes, with 100 test images."""
    generator = np.random.default_rng(0)
    train, test = (
        (generator.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % 10)
        for count in (num_training, 100)
    )
    return Arrays(train, test)


def make_config(**overrides: Value) -> Config:
    """Build a configuration on random images; overrides spell ``__`` for a dot and ``_`` for a dash."""
    layer = {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()}
    common: dict[str, Value] = {
        "dataset.name": "benchmarks.harness:benchmark_images",
        "device": "cpu",
        "checkpoint.every": 10**6,
    }
    return Config.from_flat(merge(common, layer))


def run(config: Config, grid_class: Callable[..., LocalGrid] = SequentialGrid) -> Path:
    """Run an experiment in a temporary run directory and return it."""
    directory = scratch_folder() / "run"
    config = Config.from_flat({**config.flat(), "run.directory": str(directory)})
    with grid_class(app, config.clients.count, config.flat()) as grid:
        return run_experiment(config, grid, NoProgress())


def show(title: str, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Print a Markdown table, and the versions that ran."""
    ran = ", ".join(f"{name} {version}" for name, version in versions().items())
    print(f"\n{title} ({ran}; threads: {torch.get_num_threads()})\n")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(str(value) for value in row)} |")


__all__ = ["make_config", "parser", "run", "scratch_folder", "show"]
