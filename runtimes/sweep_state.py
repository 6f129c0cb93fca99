"""The progress of a run of a sweep, read from its run directory."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.config import Config
from common.errors import UserError
from common.files import read_json
from server.checkpoints.stored_config import find_stored_config, stored_config
from server.named_parameters import differences


@dataclass(frozen=True)
class State:
    """The state of a run directory.

    Attributes
    ----------
    kind : str
        ``new``: no run; ``unfinished``: a run that stopped early; ``finished``.
    differences : list[str]
        Why it is not the requested run; empty if it is.
    summary : dict
        Its ``summary.json``; empty if it has none.
    """

    kind: Literal["new", "unfinished", "finished"]
    differences: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def state_of(path: Path, config: Config) -> State:
    """Compare a run directory with its expected configuration.

    A finished run with fewer rounds than requested counts as unfinished: it can be continued.
    """
    summary, plugins = _read_summary(path / "summary.json", config.plugins), config.plugins
    values = summary.get("config")
    if values is None:
        stored_values = find_stored_config(path, plugins)
        if stored_values is None:
            return State("new")
        values = stored_values.values
    stored = stored_config(values, plugins)
    found = differences(stored, config)
    if not found and stored.rounds > config.rounds:
        found = [f"rounds was {stored.rounds} and is {config.rounds}"]
    finished = bool(summary) and stored.rounds >= config.rounds
    return State("finished" if finished else "unfinished", found, summary)


def _read_summary(path: Path, plugins: str) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        summary = read_json(path)
        stored_config(summary["config"], plugins)
    except (UserError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path} is not the summary of a run: delete it, or that run directory") from None
    return dict(summary)
