"""The model that a command is about: the run's, or a client's own."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save

from common.config import Config, parse_assignment
from common.errors import UserError
from common.files import expanded, write_atomic
from common.records import Tensors
from models import RunModel, load_run
from runtimes.run import make_grid
from server.checkpoints.checkpoint import CheckpointStore
from server.checkpoints.stored_config import find_stored_config, stored_config
from server.personal_model import personal_model

# Where the data are, and where it is computed.
_CHANGEABLE = ("dataset.root", "device", "plugins", "resources.threads-per-worker")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which model it is."""
    parser.add_argument("run_directory", metavar="RUN", help="the directory of a finished run")
    parser.add_argument(
        "--client",
        type=int,
        metavar="ID",
        help="the client's own model, from the last checkpoint; it needs the data set",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"where the data set is, or where to compute: {', '.join(_CHANGEABLE)}",
    )


def trained_model(options: argparse.Namespace) -> RunModel:
    """Return the model that the options name.

    Raises
    ------
    UserError
        If there is no such run or client, or the client has no model of its own.
    ClientFailureError
        If the client fails.
    """
    directory = expanded(options.run_directory, "the command line")
    model = load_run(directory)
    if options.client is not None:
        model.model.load_state_dict(client_weights(directory, options.client, options.set))
    return model


def configuration_of(directory: Path, assignments: Sequence[str]) -> Config:
    """Return the configuration of a run, with where its data are now.

    Raises
    ------
    UserError
        If there is no run, or an assignment is about something else.
    """
    found = find_stored_config(directory)
    if found is None:
        raise UserError(f"there is no run in {directory}")
    overrides = dict(parse_assignment(assignment) for assignment in assignments)
    for key in overrides:
        if key not in _CHANGEABLE:
            raise UserError(f"--set takes {', '.join(_CHANGEABLE)} here, not {key}: the run has been made")
    # In this process: one job is done, whichever carrier the run had.
    return stored_config({**found.values, "runtime.name": "sequential", **overrides})


def client_weights(directory: Path, client_id: int, assignments: Sequence[str] = ()) -> Tensors:
    """Return the model by which a client predicts, from the last checkpoint of a run.

    Raises
    ------
    UserError
        If the run has no checkpoint, or the client no model of its own.
    ClientFailureError
        If the client fails.
    """
    config = configuration_of(directory, assignments)
    if config.partition.name == "node":
        raise UserError(
            "the clients' data and models are on their nodes (partition 'node'): leave --client out"
        )
    checkpoint = CheckpointStore(directory / "checkpoints").load_latest()
    if checkpoint is None:
        raise UserError(f"{directory} has no checkpoint, which is where the clients' models are")
    with make_grid(config) as grid:
        return personal_model(config, grid, checkpoint, client_id)


def write_weights(model: RunModel, path: Path) -> None:
    """Write the network's entries as safetensors."""
    write_atomic(path, save({name: value.contiguous() for name, value in model.model.state_dict().items()}))
