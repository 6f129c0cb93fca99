"""The values of the trials of a grid or of a random search: known before any of them runs."""

import itertools
import math

from common.errors import UserError
from common.randomness import numpy_generator
from common.search.table import Choices, Range, Search, Space
from common.sections import Value

Values = dict[str, Value]
_DRAWS_PER_TRIAL = 200


def proposals(search: Search) -> list[Values]:
    """Return the values of every trial, in order; no two are the same.

    Those of a random search are a function of its seed and the trial's number: more trials add to them.

    Raises
    ------
    UserError
        If there are fewer combinations than trials.
    """
    if search.method == "grid":
        spaces = [space.grid() for space in search.keys.values()]
        return [dict(zip(search.keys, values, strict=True)) for values in itertools.product(*spaces)]
    found: dict[str, Values] = {}
    for draw in range(search.trials * _DRAWS_PER_TRIAL):
        if len(found) == search.trials:
            break
        values = _drawn(search, draw)
        found.setdefault(repr(values), values)
    if len(found) < search.trials:
        number = math.prod(_count(space) for space in search.keys.values())
        raise UserError(
            f"search.trials = {search.trials}, but the keys have about {number:.0f} combinations: take fewer"
            " trials, or method = 'grid'"
        )
    return list(found.values())


def _drawn(search: Search, draw: int) -> Values:
    generator = numpy_generator(search.seed, "search", draw)
    parts = generator.random(len(search.keys))
    return {
        key: space.values[int(part * len(space.values))] if isinstance(space, Choices) else space.at(part)
        for (key, space), part in zip(search.keys.items(), parts.tolist(), strict=True)
    }


def _count(space: Space) -> float:
    if isinstance(space, Range) and not space.step:
        return space.high - space.low + 1 if space.is_whole else math.inf
    return len(space.grid())
