"""Averages over the clients that hold an entry."""

import math

import pytest
import torch

from models.sizes.submodels import EntrySelection
from strategies._aggregation import AveragingError
from strategies._holders import HolderAverage


def reference() -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([5.0, 6.0, 7.0]), "b": torch.tensor([8.0])}


def test_each_element_is_averaged_over_those_that_send_it() -> None:
    average = HolderAverage(reference())
    average.add({"w": torch.tensor([1.0, 2.0])}, 1.0, EntrySelection({"w": (torch.tensor([0, 1]),)}))
    average.add({"w": torch.tensor([4.0])}, 3.0, EntrySelection({"w": (torch.tensor([1]),)}))
    assert average.mean()["w"].tolist() == [1.0, (2 + 3 * 4) / 4, 7.0]
    assert "b" not in average.mean()


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_a_weight_that_is_none_is_refused(weight: float) -> None:
    with pytest.raises(AveragingError, match="a reply has the weight"):
        HolderAverage(reference()).add(reference(), weight)


def test_without_a_weight_there_is_nothing_to_average() -> None:
    average = HolderAverage(reference())
    average.add(reference(), 0.0)
    with pytest.raises(AveragingError, match="no reply has a weight above 0"):
        average.mean()
