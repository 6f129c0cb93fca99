"""The file of a queue: which experiments, in which order, and when a run is given up.

```toml
directory = "runs/week"                   # everything that the queue writes
set.dataset.root = "DATA"                 # keys of every run
give-up = { after = 0.25, metric = "test_accuracy", below = 0.02 }

[entries.skew]                            # a command line of run_simulation.py
experiment = "experiments/course/b4-heterogeneity.toml"
only = ["j4"]
seeds = [0, 1, 2]
priority = 10
```
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from common.config_values import settle_budget
from common.defaults import PROJECT_ROOT, flatten
from common.errors import UserError, nearest
from common.files import expanded, read_text
from common.sections import ConfigSection, NonNegativeFloat, Value

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")
_INHERITED = ("give-up", "code", "checkpoint-minutes")


class GiveUp(ConfigSection):
    """The rule for giving up a run that is not worth its whole budget.

    Attributes
    ----------
    after : float
        The fraction of the rounds after which it is judged.
    metric : str
        A column of ``metrics.csv``; its best value since round 1 counts.
    below, above : float or None
        Give up if no value was at least (at most) this; exactly one of them is set.
    """

    after: Annotated[float, Field(gt=0, lt=1)]
    metric: Annotated[str, Field(min_length=1)] = "test_accuracy"
    below: float | None = None
    above: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise ValueError("takes either below (an accuracy) or above (a loss)")
        return self


class Entry(ConfigSection):
    """One command line of ``run_simulation.py``, for one or several runs.

    Attributes
    ----------
    experiment : str
        Experiment file, relative to `code`; empty for the defaults.
    set : dict
        Keys to override.
    only, seeds, rounds_scale
        As on the command line.
    priority : int
        Entries of higher priority come first; equal ones in the order of the file.
    give_up : GiveUp or None
        The rule for each of its runs; ``give-up = false`` switches off the file's rule for all.
    code : str
        Checkout whose code makes the runs, relative to this one: the code that started a run resumes it.
    checkpoint_minutes : float
        Minutes between checkpoints, in addition to those of ``checkpoint.every``; 0 leaves the key out.
    """

    experiment: str = ""
    set: dict[str, Any] = Field(default_factory=dict)
    only: list[str] = Field(default_factory=list)
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default_factory=list)
    rounds_scale: Annotated[float, Field(gt=0)] | None = None
    priority: int = 0
    give_up: GiveUp | None = None
    code: str = ""
    checkpoint_minutes: NonNegativeFloat = 5.0

    @property
    def code_directory(self) -> Path:
        """The checkout that has the entry's ``run_simulation.py``."""
        return expanded(PROJECT_ROOT / self.code, "code").resolve()

    @property
    def overrides(self) -> dict[str, Value]:
        """The keys to override, flat."""
        return flatten(self.set)


class QueueFile(ConfigSection):
    """A queue file; keys outside the entries apply to all of them.

    Attributes
    ----------
    directory : str
        Folder of all runs, relative to the checkout.
    nice : int
        Niceness added to that of the runs' processes.
    entries : dict[str, Entry]
        name → entry, with the file's common keys filled in.
    """

    directory: Annotated[str, Field(min_length=1)]
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    set: dict[str, Any] = Field(default_factory=dict)
    give_up: GiveUp | None = None
    code: str = ""
    checkpoint_minutes: NonNegativeFloat = 5.0
    entries: dict[str, Entry]

    @property
    def path(self) -> Path:
        """The folder of all runs."""
        return expanded(PROJECT_ROOT / self.directory, "directory").resolve()

    def ordered(self) -> list[tuple[str, Entry]]:
        """Return the entries with their names, by descending priority."""
        return sorted(self.entries.items(), key=lambda item: -item[1].priority)


def read_queue_file(path: Path, directory: str = "", overrides: dict[str, Value] | None = None) -> QueueFile:
    """Read and check the file of a queue.

    Parameters
    ----------
    path : Path
        The file.
    directory : str
        Replaces the file's own, if not empty.
    overrides : dict, optional
        Flat keys of every run, on top of those of the file.

    Raises
    ------
    UserError
        One line that names the file and the key.
    """
    try:
        content = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    if directory:
        content["directory"] = directory
    try:
        _inherit(content, overrides or {})
        return QueueFile.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {_describe(error)}") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _inherit(content: dict[str, Any], overrides: dict[str, Value]) -> None:
    """Copy the file's common keys into each entry; anything but tables is left to the validation."""
    entries, common = content.get("entries"), content.get("set", {})
    if not isinstance(entries, dict) or not isinstance(common, dict):
        return
    if not entries:
        raise ValueError("entries must have at least one entry, such as [entries.mine]")
    for name, entry in entries.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"entries: '{name}' names a folder: take letters, digits and . _ = + -")
        if not isinstance(entry, dict) or not isinstance(entry.get("set", {}), dict):
            continue
        layers = (flatten(common), flatten(entry.get("set", {})), overrides)
        entry["set"] = {key: value for layer in layers for key, value in settle_budget(layer).items()}
        for key in _INHERITED:
            if key in content:
                entry.setdefault(key, content[key])
        if entry.get("give-up") is False:
            entry["give-up"] = None
        _check_entry(f"entries.{name}", entry)


def _check_entry(place: str, entry: dict[str, Any]) -> None:
    if not entry.get("experiment"):
        if entry.get("only"):
            raise ValueError(f"{place}.only chooses runs of an experiment: set {place}.experiment")
        if entry.get("rounds-scale"):
            raise ValueError(f"{place}.rounds-scale needs an experiment: set {place}.set.rounds instead")
    for key, value in entry["set"].items():
        if key.startswith("run.") or key == "checkpoint.minutes":
            raise ValueError(f"{place}.set: {key} is the queue's own")
        if not isinstance(value, Value):
            raise ValueError(f"{place}.set: {key} must be true or false, a number or a string, not {value!r}")


def _describe(error: ValidationError) -> str:
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    place = [str(part) for part in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'{nearest(place[-1], _known_keys(place))}"
    if first["type"] == "missing":
        return f"{key} is missing"
    if first["type"] == "value_error":
        return f"{key} {str(first['msg']).removeprefix('Value error, ')}"
    if first["type"] in ("model_type", "dict_type"):
        return f"{key} must be a table, not {first['input']!r}"
    return f"{key} must be {first['msg'].removeprefix('Input should be ')}, not {first['input']!r}"


def _known_keys(place: list[str]) -> list[str]:
    model: type[ConfigSection] = QueueFile
    if "give-up" in place[:-1]:
        model = GiveUp
    elif len(place) > 1:
        model = Entry
    return [field.alias or name for name, field in model.model_fields.items()]
