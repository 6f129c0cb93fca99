"""From the command line to finished runs: configuration, Grid, ServerApp, plots, table."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

# Before Flower is imported: a local run tells nobody and asks nobody.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from common.config import Config, merge, parse_assignment, parse_toml
from common.errors import UserError
from common.experiment_file import Experiment, Overrides, parse_experiment
from common.plugins import all_folders
from common.rounds_scale import scale_rounds
from runtimes.local_grid import LocalGrid


def read_configuration(options: argparse.Namespace) -> Config:
    """Lay defaults, experiment file and command line over each other and validate the result.

    With ``--resume`` the run directory's own ``config.toml`` takes the place of the defaults.
    """
    layers: list[Overrides] = []
    stored = Path(options.run_dir or "") / "config.toml"
    if options.resume:
        if not options.run_dir:
            raise UserError("--resume needs --run-dir: the directory of the run to go on with")
        if not stored.is_file():
            raise UserError(f"there is no run to resume in {options.run_dir}")
        if options.rounds_scale is not None and not options.experiment:
            raise UserError("--resume keeps the rounds of the run: change them with --set rounds=...")
        layers.append(parse_toml(read_text(stored), str(stored)))
    return configure(options, read_experiment(options).overrides, options.run_dir or "", layers)


def read_experiment(options: argparse.Namespace) -> Experiment:
    """Read the experiment file of the command line; without one the experiment overrides nothing."""
    if not options.experiment:
        return Experiment()
    return parse_experiment(read_text(options.experiment), str(options.experiment))


def configure(
    options: argparse.Namespace, overrides: Overrides, run_directory: str, stored: Sequence[Overrides] = ()
) -> Config:
    """Lay the command line over the overrides of one run and validate the result.

    Parameters
    ----------
    options : argparse.Namespace
        The command line.
    overrides : Overrides
        What the experiment file sets for this run.
    run_directory : str
        Where it runs; empty for a new directory below ``runs/``.
    stored : sequence of Overrides
        What takes the place of the defaults.
    """
    layers = [*stored, overrides]
    if options.rounds_scale is not None:
        layers.append(scale_rounds(merge(overrides), options.rounds_scale))
    layers.append(dict(parse_assignment(assignment) for assignment in options.set))
    if options.runtime:
        layers.append({"runtime.name": options.runtime})
    layers.append({"run.directory": run_directory, "run.resume": options.resume})
    if options.plugins:
        layers.append({"plugins": ",".join(options.plugins)})
    layers.append({"plugins": all_folders(merge(*layers)["plugins"])})
    config = Config.from_flat(merge(*layers))
    return compared(config, options.comparator) if options.comparator else config


def compared(config: Config, comparator: str) -> Config:
    """Return the configuration of a comparator of a run, with the run's model."""
    from clients.registry import complete
    from runtimes.comparators import derive
    from server.experiment import client_sizes

    config = complete(config)  # a projection that the method brings along is part of the model
    return derive(config, comparator, lambda: client_sizes(config))


def launch(options: argparse.Namespace) -> int:
    """Run the experiment of the command line, or its sweep; return the exit code."""
    experiment = read_experiment(options)
    if experiment.axes or options.comparators or options.seeds:
        from runtimes.sweep import launch_sweep

        return launch_sweep(experiment, options)
    if options.list or options.only:
        raise UserError("--list and --only are for sweeps: experiment files with axes, or --comparators")
    config = read_configuration(options)

    from rich.console import Console

    from server.records.run_directory import default_run_directory

    path = config.run.directory or str(default_run_directory(config))
    run(config, path)

    from analysis.report import print_summary

    print_summary(Path(path), Console())
    return 0


def run(config: Config, run_directory: str) -> None:
    """Run one experiment in this process, or on Ray, to its end."""
    from flwr.app import Context, RecordDict

    from common.flower import RUN_ID, SERVER_NODE_ID
    from server.app import app

    run_config = config.flat() | {"run.directory": run_directory}
    with make_grid(config) as grid:
        app(grid, Context(RUN_ID, SERVER_NODE_ID, {}, RecordDict(), run_config))


def make_grid(config: Config) -> LocalGrid:
    """Make the Grid that ``runtime.name`` asks for; Ray is imported only here and only then."""
    if config.runtime.name == "ray":
        from runtimes.ray import RayGrid

        return RayGrid(config)
    from clients.app import app
    from runtimes.sequential import SequentialGrid

    return SequentialGrid(app, config.clients.count, config.flat())


def read_text(path: Path) -> str:
    """Read a file that somebody named."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
