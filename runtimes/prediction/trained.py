"""The model of a command: the run's final one, that of an earlier round, or a client's personal model."""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors.torch import save

from common.checkpoint_files import FOLDER
from common.config import Config
from common.config_values import parse_assignment
from common.errors import UserError
from common.files import expanded, write_atomic
from models import RunModel, load_run
from models.run_model import WEIGHTS
from runtimes.run import make_grid
from server.checkpoints.checkpoint import Checkpoint, CheckpointStore
from server.checkpoints.stored_config import find_stored_config, stored_config
from server.personal_model import personal_models

ALL = "all"  # instead of a client's id

# Location of the data, and the device.
_CHANGEABLE = ("dataset.root", "device", "plugins", "resources.threads-per-worker")


def check_csv_name(file: str | Path) -> None:
    """Refuse a file for ``--out`` whose name has another ending."""
    if Path(file).suffix.lower() != ".csv":
        raise UserError(f"--out: cannot write {file}: its name must end with .csv")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select the model."""
    parser.add_argument("run_directory", metavar="RUN", help="the directory of a finished run")
    parser.add_argument(
        "--client",
        type=_client,
        metavar="ID",
        help="the client's own model, from the last checkpoint; needs the data set",
    )
    parser.add_argument(
        "--round",
        type=int,
        metavar="N",
        help="the model after this round, if checkpoint.keep kept its checkpoint",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"location of the data set, or device: {', '.join(_CHANGEABLE)}",
    )


def _client(text: str) -> int | str:
    if text == ALL:
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"it must be a client's id or '{ALL}', not '{text}'") from None


def trained_model(options: argparse.Namespace) -> RunModel:
    """Return the model that the options select.

    Raises
    ------
    UserError
        If there is no such run, round or client, or the client has no personal model.
    ClientFailureError
        If the client fails.
    """
    if options.client == ALL:
        raise UserError(f"--client {ALL} is for 'predict --weights FOLDER': name one client here")
    if options.client is None:
        directory = expanded(options.run_directory, "the command line")
        model = load_run(directory, round=options.round)
        was_continued = (directory / "config.toml").exists() and not (directory / "summary.json").exists()
        if was_continued and options.round is None:
            warnings.warn(
                f"{directory} was continued and has not ended again: the model is that of round"
                f" {model.card.rounds}, with which it had ended before",
                stacklevel=2,
            )
        return model
    [(_, model)] = client_models(options, [options.client])
    return model


def configuration_of(directory: Path, assignments: Sequence[str]) -> Config:
    """Return the configuration of a run, with the current location of its data.

    Raises
    ------
    UserError
        If there is no run, or an assignment sets another key.
    """
    found = find_stored_config(directory)
    if found is None:
        raise UserError(f"there is no run in {directory}")
    overrides = dict(parse_assignment(assignment) for assignment in assignments)
    for key in overrides:
        if key not in _CHANGEABLE:
            raise UserError(f"--set takes {', '.join(_CHANGEABLE)} here, not {key}: the run has been made")
    # In this process, since it is a single job, whichever runtime the run had.
    return stored_config({**found.values, "runtime.name": "sequential", **overrides})


def client_models(
    options: argparse.Namespace, client_ids: Sequence[int] | None = None
) -> Iterator[tuple[int, RunModel]]:
    """Yield the id and the predicting model of clients, from the last checkpoint or that of a round.

    The model is the same object each time, with other weights; the default is all clients.

    Raises
    ------
    UserError
        If the run has no such checkpoint, or its clients have no personal models.
    ClientFailureError
        If a client fails.
    """
    directory = expanded(options.run_directory, "the command line")
    model = load_run(directory, directory / WEIGHTS)
    config = configuration_of(directory, options.set)
    if config.partition.name == "node":
        raise UserError(
            "the clients' data and models are on their nodes (partition 'node'): leave --client out"
        )
    checkpoint = _checkpoint(directory, options.round)
    model.card = model.card.model_copy(update={"rounds": checkpoint.server_round})
    with make_grid(config) as grid:
        if client_ids is None:
            client_ids = range(config.clients.count)
        for client_id, weights in personal_models(config, grid, checkpoint, client_ids):
            model.model.load_state_dict(weights)
            yield client_id, model


def _checkpoint(directory: Path, server_round: int | None) -> Checkpoint:
    store = CheckpointStore(directory / FOLDER)
    if server_round is not None:
        return store.load_round(server_round)
    if (latest := store.load_latest()) is None:
        raise UserError(f"{directory} has no checkpoint, which is where the clients' models are")
    return latest


def write_weights(model: RunModel, path: Path) -> None:
    """Write the network's entries as safetensors."""
    write_atomic(path, save({name: value.contiguous() for name, value in model.model.state_dict().items()}))
