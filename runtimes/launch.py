"""From the command line to a finished run or sweep, its plots and its table."""

import argparse
import os
from pathlib import Path

# Before Flower is imported: a local run tells nobody and asks nobody.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from common.config import Config, parse_toml
from common.errors import UserError
from common.experiment_file import Experiment, Overrides, parse_experiment
from runtimes.run import configure, run


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


def read_text(path: Path) -> str:
    """Read a file that somebody named."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
