"""From the command line to a finished run: configuration, Grid, ServerApp, plots, table."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

# Before Flower is imported: a local run tells nobody and asks nobody.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

from common.config import Config, Value, merge, parse_assignment, parse_toml
from common.errors import UserError
from runtimes.local_grid import LocalGrid


def read_configuration(options: argparse.Namespace) -> Config:
    """Lay defaults, experiment file and command line over each other and validate the result.

    With ``--resume`` the run directory's own ``config.toml`` takes the place of the defaults.
    """
    layers: list[Mapping[str, Value]] = []
    stored = Path(options.run_dir or "") / "config.toml"
    if options.resume:
        if not options.run_dir:
            raise UserError("--resume needs --run-dir: the directory of the run to go on with")
        if not stored.is_file():
            raise UserError(f"there is no run to resume in {options.run_dir}")
        layers.append(_read_toml(stored))
    if options.experiment:
        layers.append(_read_toml(options.experiment))
    layers.append(dict(parse_assignment(assignment) for assignment in options.set))
    if options.runtime:
        layers.append({"runtime.name": options.runtime})
    layers.append({"run.directory": options.run_dir or "", "run.resume": options.resume})
    return Config.from_flat(merge(*layers))


def launch(options: argparse.Namespace) -> int:
    """Run the experiment of the command line; return the exit code."""
    config = read_configuration(options)

    from flwr.app import Context, RecordDict
    from rich.console import Console

    from runtimes.flower_internals import RUN_ID, SERVER_NODE_ID
    from server.app import app
    from server.run_directory import default_run_directory

    run_config = config.flat()
    path = config.run.directory or str(default_run_directory(config))
    run_config["run.directory"] = path
    with make_grid(config) as grid:
        app(grid, Context(RUN_ID, SERVER_NODE_ID, {}, RecordDict(), run_config))

    from analysis.report import print_summary

    print_summary(Path(path), Console())
    return 0


def make_grid(config: Config) -> LocalGrid:
    """Make the Grid that ``runtime.name`` asks for; Ray is imported only here and only then."""
    if config.runtime.name == "ray":
        from runtimes.ray import RayGrid

        return RayGrid(config)
    from clients.app import app
    from runtimes.sequential import SequentialGrid

    return SequentialGrid(app, config.clients.count, config.flat())


def _read_toml(path: Path) -> dict[str, Value]:
    try:
        return parse_toml(path.read_text(), str(path))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
