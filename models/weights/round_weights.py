"""The global model of an earlier round, from one of the run's checkpoints."""

import hashlib
from pathlib import Path

from common.checkpoint_files import FOLDER, manifest_path, no_such_round, read_manifest
from common.errors import UserError
from common.files import read_regular


def round_weights(run_directory: Path, server_round: int) -> Path:
    """Return the file with the global model after a round.

    Raises
    ------
    UserError
        If there is no checkpoint of the round, it is damaged, or its model is not the one that was evaluated.
    """
    directory = run_directory / FOLDER
    manifest = manifest_path(directory, server_round)
    if not manifest.exists():
        raise UserError(no_such_round(directory, server_round))
    try:
        content = read_manifest(manifest)
        file, policy = content["files"]["arrays"], content["config"]["batch-norm.policy"]
        path = directory / str(file["name"])
        if hashlib.sha256(read_regular(path)).hexdigest() != file["sha256"]:
            raise ValueError(f"{path.name} is damaged")
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{manifest} cannot be used: {error}") from None
    if policy == "recalibrate":
        raise UserError(
            "the models of this run are evaluated with re-estimated statistics (batch-norm.policy"
            " 'recalibrate'), which checkpoints do not contain: leave the round out"
        )
    return path
