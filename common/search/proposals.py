"""The values that a grid or a random search tries, all known before the first trial runs."""

import itertools
import math
from collections.abc import Callable, Iterator

from common.errors import UserError
from common.randomness import numpy_generator
from common.search.spaces import Choices, Range, Space
from common.search.table import Search
from common.sections import Value

Values = dict[str, Value]
_DRAWS_PER_TRIAL = 200


def proposals(search: Search, meaning: Callable[[Values], Values] = dict) -> list[Values]:
    """Return the values of every trial, in order.

    Those of a random search depend only on its seed and the trial's number: with more trials the first ones
    stay the same.

    Parameters
    ----------
    search : Search
        The search.
    meaning : callable
        Maps the values of a trial to what they amount to, such as its configuration; of trials that amount to
        the same, only the first is kept.

    Raises
    ------
    UserError
        If there are fewer combinations than trials.
    """
    is_grid = search.method == "grid"
    found: dict[str, Values] = {}
    for values in _all(search) if is_grid else _draws(search):
        found.setdefault(repr(sorted(meaning(values).items())), values)
        if not is_grid and len(found) == search.trials:
            break
    if not is_grid and len(found) < search.trials:
        number = math.prod(_count(space) for space in search.keys.values())
        known = f"about {number:.0f}" if number < search.trials else f"no more than {len(found)} different"
        raise UserError(
            f"search.trials = {search.trials}, but the keys have {known} combinations: set it lower, or use"
            " method = 'grid'"
        )
    return list(found.values())


def _all(search: Search) -> Iterator[Values]:
    spaces = [space.grid() for space in search.keys.values()]
    return (dict(zip(search.keys, values, strict=True)) for values in itertools.product(*spaces))


def _draws(search: Search) -> Iterator[Values]:
    return (_drawn(search, draw) for draw in range(search.trials * _DRAWS_PER_TRIAL))


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
