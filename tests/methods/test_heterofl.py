"""HeteroFL: combination by element and by class, and the masked loss."""

import pytest
import torch
from torch.nn import functional as F

from clients.heterofl import masked
from common.records import to_payload
from strategies.heterofl import HeteroFL
from tests.methods.widths import Hidden, WidthServer, check_uniform_averaging


def test_o20_combination() -> None:
    server = WidthServer(Hidden(), ("4", "2"), HeteroFL())
    large = {
        "hidden": torch.tensor([1.0, 2, 3, 4]),
        "classifier.weight": torch.full((3, 4), 2.0),
        "classifier.bias": torch.ones(3),
    }
    small = {
        "hidden": torch.tensor([5.0, 8]),
        "classifier.weight": torch.tensor([[4.0, 4], [6, 6], [8, 8]]),
        "classifier.bias": torch.tensor([3.0, 5, 7]),
    }
    model = server.combine([large, small], [[True] * 3, [True, False, True]], server.send())
    assert model["hidden"].tolist() == [3, 5, 3, 4]
    assert model["classifier.weight"].tolist() == [[3, 3, 2, 2], [2, 2, 2, 2], [5, 5, 2, 2]]
    assert model["classifier.bias"].tolist() == [2, 1, 4]


def test_m21_rows_of_classes_that_nobody_holds_stay() -> None:
    server = WidthServer(Hidden(), ("2", "4"), HeteroFL())
    messages = server.send()
    models = [{name: value + 1 for name, value in to_payload(m.content)["arrays"].items()} for m in messages]
    model = server.combine(models, [[True, False, False], [True, True, False]], messages)
    assert model["classifier.bias"].tolist() == [1, 1, 0]
    assert model["classifier.weight"][2].tolist() == [-1] * 4


def test_o21_masked_loss() -> None:
    logits, label = torch.tensor([[2.0, 1, 0, -1]]).double(), torch.tensor([0])
    held = torch.tensor([True, False, True, False])
    assert masked(logits, held).tolist() == [[2, 0, 0, 0]]
    assert F.cross_entropy(masked(logits, held), label).item() == pytest.approx(
        0.34075305, abs=2e-7
    )  # given in float32
    assert F.cross_entropy(logits, label).item() == pytest.approx(0.44018969, abs=1e-8)


@pytest.mark.parametrize("server_round", [1, 4])
def test_m18_with_all_rates_1_it_is_uniform_averaging(server_round: int) -> None:
    check_uniform_averaging(HeteroFL(), server_round)
