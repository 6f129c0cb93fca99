"""From the command line to a finished run or sweep, its plots and its table."""

import argparse
import os
from pathlib import Path

# Before Flower is imported, so that a local run sends no telemetry and does not check for updates.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from common.command_line import check_slips, make_console
from common.config import Config
from common.config_values import read_assignments
from common.errors import UserError
from common.experiment import Experiment, Overrides
from common.experiment_file import naming_file, parse_experiment
from common.files import read_text
from common.plugin_modules import forget_changed
from common.request import keeping_request
from common.sweep_files import SWEEP_FILE
from runtimes.resuming import check_resumable
from runtimes.run import configure, run, saying_how_to_resume


def read_configuration(options: argparse.Namespace) -> Config:
    """Combine defaults, experiment file and command line, the later overriding the earlier, and validate.

    With ``--resume`` the configuration that the run stored, if there is one, replaces the defaults.
    """
    layers: list[Overrides] = []
    if options.resume:
        from server.checkpoints.stored_config import find_stored_config

        if not options.run_dir:
            raise UserError("--resume needs --run-dir: the directory of the run to resume, or to start")
        stored = find_stored_config(Path(options.run_dir), ",".join(options.plugins) or None)
        if stored and options.rounds_scale is not None and not options.experiment:
            raise UserError("--resume keeps the rounds of the run: change them with --set rounds=...")
        if stored:
            layers.append(stored.values)
    overrides, assignments = read_experiment(options).overrides, read_assignments(options.set)
    with naming_file(options.experiment, overrides, assignments):
        return configure(options, overrides, assignments, options.run_dir or "", layers)


def read_experiment(options: argparse.Namespace) -> Experiment:
    """Read the experiment file of the command line; without one the experiment overrides nothing."""
    check_slips(options.experiment, options.set)
    if not options.experiment:
        return Experiment()
    return parse_experiment(experiment_text(options), str(options.experiment))


def experiment_text(options: argparse.Namespace) -> str:
    """Return the text of the command line's experiment file; empty without one."""
    return read_text(options.experiment) if options.experiment else ""


def launch(options: argparse.Namespace) -> int:
    """Run the experiment of the command line, or its sweep; return the exit code."""
    forget_changed()
    experiment = read_experiment(options)
    if options.resume and options.run_dir:
        check_resumable(Path(options.run_dir), options.experiment, read_assignments(options.set))
    if experiment.search:
        from runtimes.search.launch import launch_search

        return launch_search(experiment, options, experiment_text(options))
    if experiment.axes or options.comparators or options.seeds is not None:
        from runtimes.sweep import launch_sweep

        return launch_sweep(experiment, options, experiment_text(options))
    if options.list or options.only:
        raise UserError("--list and --only are for sweeps: experiment files with axes, or --comparators")
    config = read_configuration(options)

    from server.records.run_directory import check_writable, default_run_directory

    path = Path(config.run.directory or default_run_directory(config))
    if (path / SWEEP_FILE).is_file():
        resume = "resume it with the command that began it and --resume, or " if options.resume else ""
        raise UserError(f"{path} holds a sweep: {resume}choose another --run-dir for a single run")
    check_writable(path)
    with (
        naming_file(options.experiment, experiment.overrides, read_assignments(options.set)),
        keeping_request(path, experiment_text(options), options.arguments),
        saying_how_to_resume(path),
    ):
        run(config, str(path))

    from analysis.report import print_summary  # imported after the run, which need not wait for pandas

    print_summary(path, make_console())
    return 0
