"""FedRolex: rolling windows of channels."""

from typing import Any

import pytest
import torch

from common.records import to_payload
from models.sizes.population import Population
from models.sizes.submodels import SubModels
from strategies._run_facts import RunFacts
from strategies.fedrolex import FedRolex, rolling_window
from strategies.heterofl import HeteroFL
from tests.methods.widths import WidthServer, check_uniform_averaging, resnet


def window(n: int, k: int, shift: int, direction: str = "code") -> list[int]:
    chosen = rolling_window(n, k, shift, direction)
    return list(range(n)) if chosen is None else chosen.tolist()


def test_o22_windows() -> None:
    code = {0: [0, 1, 2], 1: [7, 0, 1], 2: [6, 7, 0], 3: [5, 6, 7], 8: [0, 1, 2]}
    assert {shift: window(8, 3, shift) for shift in code} == code
    paper = {1: [1, 2, 3], 2: [2, 3, 4], 7: [7, 0, 1]}
    assert {shift: window(8, 3, shift, "paper") for shift in paper} == paper
    assert window(4, 4, 3) == [1, 2, 3, 0]
    for direction in ("code", "paper"):
        chosen = [channel for shift in range(8) for channel in window(8, 3, shift, direction)]
        assert [chosen.count(channel) for channel in range(8)] == [3] * 8


@pytest.mark.parametrize("direction", ["code", "paper"])
@pytest.mark.parametrize("server_round", [1, 2, 5])
def test_m19_untrained_windows_put_together_are_the_model(direction: str, server_round: int) -> None:
    server = WidthServer(resnet(), ("w1", "w0.5", "w0.25"), FedRolex(direction=direction))
    messages = server.send(server_round)
    model = server.combine([to_payload(m.content)["arrays"] for m in messages], [[True] * 4] * 3, messages)
    assert all(torch.equal(model[name], value) for name, value in server.state.items())


def test_m18_a_permuted_model_computes_the_same() -> None:
    server = WidthServer(resnet(), ("w1",), FedRolex())
    part = to_payload(server.send(4)[0].content)["arrays"]
    assert not torch.equal(part["conv1.weight"], server.state["conv1.weight"])
    images = torch.rand(6, 1, 8, 8)
    expected = server.model(images)
    model = resnet()
    model.load_state_dict(part)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


FACTS = RunFacts(
    1,
    [],
    client_ids={2: 0},
    population=Population(("w0.5",), 1),
    submodels=SubModels(resnet(), ("w0.5",)),
)


def test_m20_after_a_period_the_window_is_that_of_heterofl() -> None:
    rolling, fixed = FedRolex(), HeteroFL()
    for strategy in (rolling, fixed):
        strategy.setup(FACTS)
    same, other = (rolling.selection("w0.5", server_round).indices for server_round in (33, 34))
    expected = fixed.selection("w0.5", 33).indices
    assert all(equal(same[name], expected[name]) for name in expected)
    assert not all(equal(other[name], expected[name]) for name in expected)


def equal(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    return len(first) == len(second) and all(
        (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
        for a, b in zip(first, second, strict=True)
    )


def test_m20_convolutions_of_a_stage_share_one_window() -> None:
    strategy = FedRolex()
    strategy.setup(FACTS)
    indices = strategy.selection("w0.5", 6).indices
    for block in ("0.conv1", "0.conv2", "0.downsample.0", "1.conv1", "1.conv2"):
        rows, columns = indices[f"layer4.{block}.weight"][:2]
        assert rows.tolist() == window(32, 16, 5)
        assert columns.tolist() == window(*(16, 8) if block in ("0.conv1", "0.downsample.0") else (32, 16), 5)
    assert indices["conv1.weight"][1] is None
    assert indices["classifier.weight"][0] is None


@pytest.mark.parametrize("direction", ["code", "paper"])
@pytest.mark.parametrize("server_round", [1, 4])
def test_m18_with_all_rates_1_it_is_uniform_averaging(direction: str, server_round: int) -> None:
    check_uniform_averaging(FedRolex(direction=direction), server_round)
