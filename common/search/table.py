"""The table ``[search]`` of an experiment file.

```toml
[search]
method = "random"                              # or "grid", "optuna"
trials = 20
objective = "validation_accuracy"
[search.keys]
optimizer.learning-rate = { low = 0.001, high = 1.0, log = true }
local.batch-size = { low = 16, high = 128, step = 16 }
method.mu = [0.0, 0.01, 0.1]
[search.during]                                # overrides for the trials alone
rounds = 20
```
"""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.config_values import RUN_OPTIONS, settle_budget
from common.defaults import flatten
from common.errors import UserError, nearest, shown
from common.search.spaces import Choices, Range, Space
from common.sections import Value, lower_is_better

METHODS = ("grid", "random", "optuna")
SAMPLERS = ("tpe", "gp", "random")
PRUNERS = ("median", "none")
DEFAULT_OBJECTIVE = "validation_accuracy"
_SPLIT = "validation_"
_MAX_TRIALS = 10_000
_MAX_SECTIONS = 8  # around a key
_TEST = "evaluate.test"


@dataclass(frozen=True)
class Search:
    """The settings of a search.

    Attributes
    ----------
    keys : Mapping[str, Space]
        Key → values to search.
    during : Mapping[str, Value]
        Overrides for the trials alone.
    method, sampler, pruner : str
        How values are proposed, and how poor trials are stopped early.
    trials : int
        Number of trials; 0 for a grid, which runs all combinations.
    objective : str
        A column of ``metrics.csv``, measured on validation data; its value in the last round counts.
    maximize : bool
        Whether larger values of it are better.
    seed : int
        Seed of the proposals.
    """

    keys: Mapping[str, Space]
    during: Mapping[str, Value] = field(default_factory=dict)
    method: str = "random"
    trials: int = 0
    objective: str = DEFAULT_OBJECTIVE
    maximize: bool = True
    seed: int = 0
    sampler: str = ""
    pruner: str = ""

    def with_integer_ranges(self, names: Collection[str]) -> "Search":
        """Return the search in which exactly these keys have integer ranges.

        ``{ low = 1, high = 10 }`` is an integer range only if the key takes nothing but integers.
        """
        keys = {
            key: dataclasses.replace(space, is_whole=key in names) if isinstance(space, Range) else space
            for key, space in self.keys.items()
        }
        return dataclasses.replace(self, keys=keys)

    def as_dict(self) -> dict[str, Any]:
        """Return the search as plain values, as ``search.json`` has it."""
        content = dataclasses.asdict(self)
        content["during"] = dict(self.during)
        content["keys"] = {key: dataclasses.asdict(space) for key, space in self.keys.items()}
        return content


def parse_search(table: Any, overrides: Mapping[str, Value], source: str) -> Search:
    """Read the table ``[search]`` of a file whose other keys are `overrides`; `source` names the file.

    Raises
    ------
    UserError
        One line that names the key.
    """
    reader = _Reader(table, f"{source}: search")
    keys = {
        key: _space(value, f"{source}: search.keys: {key}") for key, value in _leaves(reader.table("keys"))
    }
    during = flatten(reader.table("during", needed=False), f"{source}: search.during")
    _check_keys(keys, during, overrides, source)
    method = reader.choice("method", METHODS, "random")
    objective = reader.text("objective", DEFAULT_OBJECTIVE)
    if not objective.startswith(_SPLIT):
        raise UserError(
            f"{source}: search.objective = '{objective}' is not about validation data: take a column of"
            f" metrics.csv that begins with '{_SPLIT}', such as '{DEFAULT_OBJECTIVE}'"
        )
    direction = reader.choice("direction", ("min", "max"), "min" if lower_is_better(objective) else "max")
    search = Search(
        keys,
        during,
        method,
        reader.whole("trials", 1, _MAX_TRIALS, 0),
        objective,
        direction == "max",
        reader.whole("seed", 0, 2**31 - 1, 0),
        reader.choice("sampler", SAMPLERS, "tpe" if method == "optuna" else ""),
        reader.choice("pruner", PRUNERS, "median" if method == "optuna" else ""),
    )
    reader.check_all_known()
    _check_method(search, reader, source)
    return search


class _Reader:
    """Takes the keys of a table one by one."""

    def __init__(self, table: Any, place: str) -> None:
        if not isinstance(table, Mapping):
            raise UserError(f"{place} must be a table, not {shown(table)}")
        self.given = table
        self._place = place
        self._known: list[str] = []

    def _get(self, key: str, default: Any) -> Any:
        self._known.append(key)
        return self.given.get(key, default)

    def table(self, key: str, needed: bool = True) -> Mapping[str, Any]:
        value = self._get(key, None if needed else {})
        if value is None:
            raise UserError(f"{self._place} needs a table [search.{key}] with the keys to search")
        if not isinstance(value, Mapping):
            raise UserError(f"{self._place}.{key} must be a table, not {shown(value)}")
        return value

    def text(self, key: str, default: str) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise UserError(f"{self._place}.{key} must be a string, not {shown(value)}")
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        value = self._get(key, default)
        if value not in choices and (value != default or key in self.given):
            hint = nearest(value, choices) if isinstance(value, str) else ""
            raise UserError(
                f"{self._place}.{key} must be one of {', '.join(choices)}, not {shown(value)}{hint}"
            )
        return str(value)

    def whole(self, key: str, low: int, high: int, default: int) -> int:
        value = self._get(key, default)
        if key in self.given and (type(value) is not int or not low <= value <= high):
            raise UserError(
                f"{self._place}.{key} must be a whole number from {low} to {high}, not {shown(value)}"
            )
        return int(value)

    def check_all_known(self) -> None:
        for key in self.given:
            if key not in self._known:
                known = ", ".join(self._known)
                raise UserError(
                    f"{self._place} has no '{key}'{nearest(key, self._known)} (there are: {known})"
                )


def _leaves(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return dotted keys and their values; a table without ``low`` and ``high`` is a section."""
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        is_deep = prefix.count(".") >= _MAX_SECTIONS
        is_section = isinstance(value, Mapping) and value and not {"low", "high"} & set(value) and not is_deep
        found += _leaves(value, f"{prefix}{name}.") if is_section else [(f"{prefix}{name}", value)]
    return found


def _space(value: Any, place: str) -> Space:
    if isinstance(value, Mapping):
        return _range(value, place)
    if not isinstance(value, list):
        raise UserError(
            f"{place} must be a list of values or a range {{ low = ..., high = ... }}, not {shown(value)}"
        )
    if not value:
        raise UserError(f"{place} has no values: list some, or leave the key out")
    for item in value:
        if not isinstance(item, Value) or (isinstance(item, float) and not math.isfinite(item)):
            raise UserError(f"{place} has {shown(item)}, which is not a value that a key can have")
    if twice := [item for item in value if sum(_same(item, other) for other in value) > 1]:
        raise UserError(f"{place} has {shown(twice[0])} twice: remove one")
    return Choices(tuple(value))


def _same(one: Value, other: Value) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _range(table: Mapping[str, Any], place: str) -> Range:
    known = ("low", "high", "log", "step", "points")
    for key in table:
        if key not in known:
            raise UserError(f"{place} has no '{key}'{nearest(key, known)} (there are: {', '.join(known)})")
    for key in ("low", "high"):
        if key not in table:
            raise UserError(f"{place} has no '{key}': a range is {{ low = ..., high = ... }}")
    numbers = {key: table[key] for key in ("low", "high", "step") if key in table}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise UserError(f"{place}.{key} must be a number, not {shown(value)}")
    low, high, step = table["low"], table["high"], table.get("step", 0)
    log, points = table.get("log", False), table.get("points", 0)
    if not isinstance(log, bool):
        raise UserError(f"{place}.log must be true or false, not {shown(log)}")
    if "points" in table and (type(points) is not int or not 2 <= points <= _MAX_TRIALS):
        raise UserError(f"{place}.points must be a whole number from 2 to {_MAX_TRIALS}, not {shown(points)}")
    if not low < high:
        raise UserError(f"{place}: low = {low} must be below high = {high}")
    if log and low <= 0:
        raise UserError(f"{place}: a log scale needs low above 0, not {low}")
    if "step" in table and not 0 < step <= high - low:
        raise UserError(f"{place}.step must be above 0 and at most high - low = {high - low}, not {step}")
    if step and (log or points):
        raise UserError(f"{place}: step cannot be combined with log or points: leave one of them out")
    return Range(low, high, log, step, points, all(isinstance(value, int) for value in numbers.values()))


def _check_keys(
    keys: Mapping[str, Space], during: Mapping[str, Value], overrides: Mapping[str, Value], source: str
) -> None:
    if not keys:
        raise UserError(f"{source}: search.keys is empty: list the keys to search")
    fixed = settle_budget(overrides)
    for key in [*keys, *during]:
        if key in RUN_OPTIONS:
            raise UserError(f"{source}: search: {key} is not for experiment files: use {RUN_OPTIONS[key]}")
        if key == _TEST:
            raise UserError(f"{source}: search: trials never use the test set: leave {_TEST} out")
    if "seed" in keys:
        raise UserError(
            f"{source}: search.keys: the seed cannot be searched: leave it out, and repeat the winner with"
            " --seeds"
        )
    for key in keys:
        if key in during:
            raise UserError(
                f"{source}: search.keys and search.during both set {key}: remove it from one of them"
            )
        if fixed.get(key):
            raise UserError(f"{source} sets {key}, which [search] searches: remove one of the two")


def _check_method(search: Search, reader: _Reader, source: str) -> None:
    if search.method == "grid":
        if "trials" in reader.given:
            raise UserError(f"{source}: search.trials: a grid runs all combinations: leave it out")
        for key, space in search.keys.items():
            if isinstance(space, Range) and not (space.points or space.step):
                raise UserError(
                    f"{source}: search.keys: {key}: a grid needs points, such as points = 5, or step"
                )
        number = math.prod(len(space.grid()) for space in search.keys.values())
        if number > _MAX_TRIALS:
            raise UserError(f"{source}: search: the grid has {number} trials, more than {_MAX_TRIALS}")
    elif not search.trials:
        raise UserError(f"{source}: search.trials is missing: set the number of trials")
    else:
        for key, space in search.keys.items():
            if isinstance(space, Range) and space.points:
                raise UserError(
                    f"{source}: search.keys: {key}: points are for method = 'grid': leave them out"
                )
    for name in ("sampler", "pruner"):
        if search.method != "optuna" and name in reader.given:
            raise UserError(f"{source}: search.{name} is for method = 'optuna': leave it out")
