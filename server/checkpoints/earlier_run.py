"""What an earlier run left in a directory, from which a run resumes."""

from pathlib import Path

from common.config import Config
from common.errors import UserError
from server.checkpoints.checkpoint import Checkpoint, CheckpointStore
from server.checkpoints.stored_config import find_stored_config, stored_config
from server.named_parameters import differences
from server.records.row_files import check_rows
from server.records.run_directory import holds_run


def find_checkpoint(
    path: Path, checkpoints: CheckpointStore, config: Config
) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint to resume from (None if the run never wrote one), and a remark.

    Raises
    ------
    UserError
        If it ran with another configuration, none of its checkpoints can be used, or restarting it would
        delete finished rounds.
    """
    stored = find_stored_config(path, config.plugins)
    if stored is None:
        if holds_run(path):
            raise UserError(
                f"{path} has files of a run, but neither its config.toml nor a readable checkpoint: move"
                " them away, or choose another --run-dir"
            )
        return None, ""
    values = stored.values
    checkpoint = checkpoints.load_latest(lambda progress: check_rows(path, progress["rows"]))
    if checkpoint is None:
        _check_nothing_is_lost(path, stored_config(values, config.plugins))
    else:
        values = checkpoint.config
        if checkpoint.server_round > config.rounds:
            raise UserError(
                f"{path} has {checkpoint.server_round} rounds already, more than rounds = {config.rounds}"
            )
    if found := differences(*(stored_config(each, config.plugins) for each in (values, config.flat()))):
        raise UserError(f"cannot resume {path} with another configuration: {'; '.join(found)}")
    return checkpoint, stored.remark


def _check_nothing_is_lost(path: Path, stored: Config) -> None:
    """Refuse to restart a run that had a checkpoint once: its finished rounds would be deleted."""
    metrics = path / "metrics.csv"
    num_rounds = metrics.read_bytes().count(b"\n") - 2 if metrics.exists() else 0  # header, round 0
    if (path / "summary.json").exists() or num_rounds > stored.checkpoint.every:
        raise UserError(
            f"{path} holds {num_rounds} finished rounds, but no checkpoint to resume from, and starting again"
            " would delete them: choose another --run-dir"
        )
