"""The configuration that a run has stored, even if its ``config.toml`` was lost."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.config import Config, missing_key
from common.config_values import parse_toml
from common.defaults import default_values
from common.errors import UserError
from common.files import read_text
from common.sections import Value
from server.checkpoints.checkpoint import CheckpointStore
from server.named_parameters import without_idle_keys


@dataclass(frozen=True)
class StoredConfig:
    """A run's stored configuration.

    Attributes
    ----------
    values : mapping
        The flat configuration as stored.
    remark : str
        What was wrong with ``config.toml``; empty if nothing was.
    """

    values: Mapping[str, Value]
    remark: str = ""


def stored_config(values: Mapping[str, Value], plugins: str | None = None) -> Config:
    """Validate the configuration that a run stored; keys added since then have their defaults.

    Keys that are refused since then because they have no effect are reset. The plug-in folders are those of
    the run, unless `plugins` is given.
    """
    moved = {} if plugins is None else {"plugins": plugins}
    config = Config.from_flat({**default_values(), **values, **moved})
    try:
        return without_idle_keys(config)
    except UserError:  # whoever uses what it names says what is wrong with that
        return config


def find_stored_config(path: Path, plugins: str | None = None) -> StoredConfig | None:
    """Read the configuration of the run in a directory; None if there is no run.

    It is taken from ``config.toml``, which may be newer than the last checkpoint (more rounds, another
    device), or from the checkpoint if that file is missing, unreadable, or lacks keys.

    Raises
    ------
    UserError
        If ``config.toml`` is damaged and there is no checkpoint.
    """
    file = path / "config.toml"
    of_checkpoint = CheckpointStore(path / "checkpoints").latest_config()
    try:
        values = _read(file)
        stored = stored_config(values, plugins)
        if of_checkpoint is None and (lost_key := missing_key(values)):
            raise UserError(
                f"{file} lacks {lost_key}, and there is no checkpoint that would have it: choose another"
                " --run-dir"
            )
    except UserError as error:
        if of_checkpoint is None and not file.exists():
            return None
        if of_checkpoint is None:
            raise
        problem = str(error) if file.exists() else f"{file} is missing"
    else:
        lost = sorted(set(of_checkpoint or ()) - set(values))
        whole = {**(of_checkpoint or {}), **values}
        if not lost or stored_config(whole, plugins) == stored:
            return StoredConfig(values)
        problem = f"{file} lacks {lost[0]}" + (f" and {len(lost) - 1} more keys" if lost[1:] else "")
    assert of_checkpoint is not None
    return StoredConfig(of_checkpoint, f"{problem}: the configuration is that of the last checkpoint")


def _read(file: Path) -> dict[str, Value]:
    text = read_text(file)
    if text and not text.endswith("\n"):
        raise UserError(f"{file} is cut off within its last line")
    return parse_toml(text, str(file))
