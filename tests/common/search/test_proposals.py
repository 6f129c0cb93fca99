"""What a grid and a random search try."""

import dataclasses

import numpy as np
import pytest

from common.errors import UserError
from common.search.proposals import Values, proposals
from common.search.spaces import Choices, Range
from common.search.table import Search


def test_a_grid_is_every_combination() -> None:
    search = Search({"a": Choices((1, 2)), "b": Range(0.1, 10.0, log=True, points=3)}, method="grid")
    pairs = [(1, 0.1), (1, 1.0), (1, 10.0), (2, 0.1), (2, 1.0), (2, 10.0)]
    assert [tuple(values.values()) for values in proposals(search)] == pairs


def test_more_random_trials_add_to_those_before() -> None:
    search = Search({"a": Range(0.001, 1.0, log=True), "b": Choices(("x", "y"))}, trials=5)
    assert proposals(dataclasses.replace(search, trials=9))[:5] == proposals(search)
    assert proposals(dataclasses.replace(search, seed=1)) != proposals(search)


def test_a_log_range_is_drawn_evenly_in_ratios() -> None:
    drawn = proposals(Search({"a": Range(0.001, 1.0, log=True)}, trials=2000))
    logs = np.log10([float(values["a"]) for values in drawn])
    assert np.histogram(logs, bins=3, range=(-3, 0))[0] / 2000 == pytest.approx([1 / 3] * 3, abs=0.04)


def test_what_a_trial_has_no_use_for_makes_no_other_trial() -> None:
    search = Search({"name": Choices(("x", "y")), "of-y": Range(0.0, 1.0)}, trials=6)

    def used(values: Values) -> Values:
        return values if values["name"] == "y" else {"name": values["name"]}

    drawn = [used(values) for values in proposals(search, used)]
    assert len(drawn) == 6
    assert drawn.count({"name": "x"}) == 1
    assert proposals(dataclasses.replace(search, trials=9), used)[:6] == proposals(search, used)
    grid = dataclasses.replace(search, keys={**search.keys, "of-y": Choices((1, 2))}, method="grid")
    assert len(proposals(grid, used)) == 3
    few = dataclasses.replace(search, keys={**search.keys, "name": Choices(("x",))})
    with pytest.raises(UserError, match="no more than 1 different combinations"):
        proposals(few, used)


def test_no_trial_comes_twice_and_too_many_are_refused() -> None:
    search = Search({"a": Choices(("x", "y", "z")), "b": Range(1, 2, is_whole=True)}, trials=6)
    drawn = proposals(search)
    assert len({tuple(values.values()) for values in drawn}) == 6
    with pytest.raises(UserError, match=r"search.trials = 7, but the keys have about 6 combinations"):
        proposals(dataclasses.replace(search, trials=7))
