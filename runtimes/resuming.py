"""What ``--resume`` may do with a directory that holds no run."""

from collections.abc import Iterable
from pathlib import Path

from common.config_differences import RESUMABLE_DIFFERENCES, RESUMABLE_SECTIONS
from common.errors import UserError
from common.request import read_request
from common.sweep_files import SWEEP_FILE
from server.records.run_directory import holds_run


def check_resumable(directory: Path, experiment: Path | None, given: Iterable[str]) -> None:
    """Refuse a command that neither resumes a run nor says which one to start, as one with a misspelt path.

    Parameters
    ----------
    directory : Path
        The directory of ``--run-dir``.
    experiment : Path, optional
        The experiment file of the command.
    given : iterable of str
        The keys that ``--set`` sets.

    Raises
    ------
    UserError
        If all defaults would be run.
    """
    if experiment or any(map(_is_of_a_new_run, given)):
        return
    if holds_run(directory) or (directory / SWEEP_FILE).is_file():
        return
    if commands := read_request(directory).commands:
        raise UserError(
            f"--resume alone cannot continue {directory}, which has no config.toml: repeat the command that"
            f" began there, with --resume: {commands[-1]}"
        )
    raise UserError(
        f"nothing to resume: {directory} {'holds no run' if directory.exists() else 'does not exist'}; check"
        " the path, or say what to run there, with an experiment file or --set method.name=..."
    )


def _is_of_a_new_run(key: str) -> bool:
    """Return whether a key describes a run, so that it is not given just to resume one."""
    return key not in RESUMABLE_DIFFERENCES and not key.startswith(RESUMABLE_SECTIONS)
