"""One run: its configuration from the command line, its Grid, its ServerApp."""

import argparse
import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.checkpoint_files import FOLDER, committed_rounds
from common.config import Config
from common.config_values import merge
from common.errors import UserError
from common.experiment import Overrides
from common.imports import importing
from common.inactive import given_keys
from common.plugins import all_folders
from common.reading import comma_list
from common.rounds_scale import scale_rounds
from common.search.trials import SEARCH_FILE
from common.sweep_files import SWEEP_FILE
from runtimes.local_grid import LocalGrid


def configure(
    options: argparse.Namespace,
    overrides: Overrides,
    assignments: Overrides,
    run_directory: str,
    stored: Sequence[Overrides] = (),
) -> Config:
    """Apply the command line to the overrides of a run and validate the result.

    Parameters
    ----------
    options : argparse.Namespace
        The command line.
    overrides : Overrides
        The experiment file's overrides for this run.
    assignments : Overrides
        The overrides of ``--set``.
    run_directory : str
        The run directory; empty for a new one in ``runs/``.
    stored : sequence of Overrides
        Values that replace the defaults.

    Raises
    ------
    InapplicableKeyError
        If a key is set that has no effect.
    UserError
        If the configuration is not valid.
    """
    layers = [overrides]
    if options.rounds_scale is not None:
        layers.append(scale_rounds(merge(overrides), options.rounds_scale))
    layers.append(assignments)
    if options.runtime:
        layers.append({"runtime.name": options.runtime})
    if options.plugins:
        layers.append({"plugins": ",".join(options.plugins)})
    if options.profile:
        named = comma_list("observers", str(merge(*stored, *layers)["observers"]))
        layers.append({"observers": ",".join(dict.fromkeys([*named, "profile"]))})
    run_layer: Overrides = {"run.directory": run_directory, "run.resume": options.resume}
    folders: Overrides = {"plugins": all_folders(merge(*stored, *layers)["plugins"])}
    config = Config.from_flat(merge(*stored, *layers, run_layer, folders))
    with importing("server.named_parameters"):
        from server.named_parameters import without_idle_keys
    config = without_idle_keys(config, given_keys(overrides, assignments))
    if config.clients.count == 0:
        raise UserError(
            "clients.count = 0 takes the connected nodes under Flower's own runtimes, and this one makes"
            " them: set clients.count"
        )
    check_tracking(config)
    return compared(config, options.comparator) if options.comparator else config


def check_tracking(config: Config) -> None:
    """Refuse ``tracking`` by a package that is not installed, before Ray or any data are loaded."""
    if config.tracking:
        from server.observers._tracker import find_trackers

        find_trackers(config)


def compared(config: Config, comparator: str) -> Config:
    """Return the configuration of a comparator of a run, with the run's model."""
    from clients._configuration import complete
    from runtimes.comparators import derive
    from server.preparation import client_sizes, keeps_natural_clients

    config = complete(config)  # a projection that the method adds is part of the model
    return derive(config, comparator, lambda: client_sizes(config), lambda: keeps_natural_clients(config))


def run(config: Config, run_directory: str) -> None:
    """Run one experiment to its end, in this process or on Ray."""
    with importing("server.app"):
        from flwr.app import Context, RecordDict

        from common.flower import RUN_ID, SERVER_NODE_ID
        from server.app import app

    logging.getLogger("flwr").setLevel(logging.WARNING)  # its strategies print several lines a round
    run_config = config.flat() | {"run.directory": run_directory}
    with make_grid(config) as grid:
        app(grid, Context(RUN_ID, SERVER_NODE_ID, {}, RecordDict(), run_config))


def make_grid(config: Config) -> LocalGrid:
    """Create the Grid that ``runtime.name`` selects; Ray is imported only if it is selected."""
    idle = {
        "failures.deadline": config.failures.deadline > 0,
        "resources.clients-per-node": config.resources.clients_per_node > 1,
    }
    for key, is_set in idle.items():
        if is_set:
            warnings.warn(f"{key} has no effect: it is for Flower's own runtimes", stacklevel=2)
    if config.runtime.name == "ray":
        from runtimes.ray.grid import RayGrid

        return RayGrid(config)
    from clients.app import app

    if config.runtime.name == "threads":
        from runtimes.threads import ThreadsGrid

        return ThreadsGrid(app, config.clients.count, config.flat())
    from runtimes.sequential import SequentialGrid

    return SequentialGrid(app, config.clients.count, config.flat())


@contextlib.contextmanager
def saying_how_to_resume(directory: Path) -> Iterator[None]:
    """Add to an interruption of a run or a sweep whether anything was committed and how to resume."""
    was_there = directory.exists()
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        error.add_note(how_to_resume(directory, was_there))
        raise


def how_to_resume(directory: Path, was_there: bool = True) -> str:
    """Return what was committed in the directory of a run or a sweep, and how to resume.

    `was_there` is whether the directory existed when the run or the sweep began.
    """
    is_run = (directory / "config.toml").exists()
    options = f"{'' if is_run else 'the same command and '}--run-dir {directory} --resume"
    if any(map(committed_rounds, directory.glob(f"**/{FOLDER}"))):
        return f"what was committed is kept: resume with {options}"
    if was_there and not directory.exists():
        return f"{directory} is not there any more; if it was moved, resume with --run-dir NEW_PLACE --resume"
    if is_run or any((directory / name).exists() for name in (SWEEP_FILE, SEARCH_FILE)):
        return f"nothing was committed yet: {options} starts it from the beginning"
    return "nothing has begun: the same command starts it again"
