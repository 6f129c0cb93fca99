"""One run: its configuration from the command line, its Grid, its ServerApp."""

import argparse
from collections.abc import Sequence

from common.config import Config, merge, parse_assignment
from common.experiment_file import Overrides
from common.plugins import all_folders
from common.rounds_scale import scale_rounds
from runtimes.local_grid import LocalGrid


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
