"""HeteroFL and FedRolex: combination, windows, masked loss."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from flwr.app import Message, MetricRecord, RecordDict
from torch import nn
from torch.nn import functional as F

from clients.heterofl import masked
from common.records import Tensors, to_payload, to_record, to_tensors
from models import build_model
from models.batch_norm import recalibrate
from models.classifier import Classifier
from models.sizes.population import Population
from models.sizes.submodels import Splittable, SubModels
from strategies._run_facts import RunFacts
from strategies.fedrolex import FedRolex, rolling_window
from strategies.heterofl import HeteroFL
from tests.strategies.test_heteroavg import Server


class Hidden(Splittable):
    """A hidden vector of so many channels and a linear head of three classes."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.zeros(width))
        self.classifier = nn.Linear(width, 3)
        nn.init.constant_(self.classifier.weight, -1)
        nn.init.zeros_(self.classifier.bias)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.hidden

    def size_name(self, text: str) -> str:
        return text

    def submodel(self, size: str) -> Classifier:
        return Hidden(int(size))

    def width_dimensions(self) -> Mapping[str, tuple[int, ...]]:
        return {"hidden": (0,), "classifier.weight": (1,)}


class WidthServer(Server):
    """A server half that is told of the clients' classes."""

    def __init__(self, model: Any, sizes: tuple[str, ...], strategy: HeteroFL) -> None:
        super().__init__(model, sizes)
        strategy.setup(self.facts)
        self.strategy = strategy

    def combine(self, models: list[Tensors], classes: list[list[bool]], messages: list[Message]) -> Tensors:
        replies = []
        for message, model, held in zip(messages, models, classes, strict=True):
            sections = {"arrays": to_record(model), "classes": to_record({"held": torch.tensor(held)})}
            content = RecordDict({**sections, "metrics": MetricRecord({"num-examples": 1})})
            replies.append(Message(content, reply_to=message))
        arrays, _ = self.strategy.aggregate_train(1, replies)
        assert arrays is not None
        return to_tensors(arrays)


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


def resnet() -> Any:
    return build_model("stage-resnet", (1, 8, 8), 4, {"width": 4, "blocks": "1-1-1-2"})


@pytest.mark.parametrize("direction", ["code", "paper"])
@pytest.mark.parametrize("server_round", [1, 2, 5])
def test_m19_untrained_windows_put_together_are_the_model(direction: str, server_round: int) -> None:
    server = WidthServer(resnet(), ("w1", "w0.5", "w0.25"), FedRolex(direction=direction))
    messages = server.send(server_round)
    model = server.combine([to_payload(m.content)["arrays"] for m in messages], [[True] * 4] * 3, messages)
    assert all(torch.equal(model[name], value) for name, value in server.state.items())


@pytest.mark.parametrize("strategy", [HeteroFL(), FedRolex(), FedRolex(direction="paper")])
@pytest.mark.parametrize("server_round", [1, 4])
def test_m18_with_all_rates_1_it_is_uniform_averaging(strategy: HeteroFL, server_round: int) -> None:
    server = WidthServer(resnet(), ("w1", "w1"), strategy)
    messages = server.send(server_round)
    generator = torch.Generator().manual_seed(0)
    whole = [
        {name: torch.rand(value.shape, generator=generator) for name, value in server.state.items()}
        for _ in messages
    ]
    held = strategy.selection("w1", server_round)
    model = server.combine([held.take(state) for state in whole], [[True] * 4] * 2, messages)
    for name, value in server.state.items():
        if value.is_floating_point():
            expected = (whole[0][name].double() + whole[1][name].double()) / 2
            torch.testing.assert_close(model[name], expected.float(), rtol=1e-6, atol=0)


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


def test_o23_static_batch_norm_weighs_batches_equally() -> None:
    norm = nn.BatchNorm1d(1, momentum=None).double()
    for batch in ([1.0, 3.0], [2.0, 4.0, 9.0, 9.0]):
        norm(torch.tensor(batch).double()[:, None])
    assert norm.running_mean.item() == pytest.approx(4.0)  # type: ignore[union-attr]
    assert norm.running_var.item() == pytest.approx(7.3333333, abs=1e-7)  # type: ignore[union-attr]
    # The same estimate over batches {1, 3, 9} and {2, 4} of one tensor.
    inputs = torch.tensor([1.0, 2, 3, 4, 9]).double()[:, None]
    recalibrate(norm, inputs, lambda x: x, 3, torch.device("cpu"))
    assert norm.running_mean.item() == pytest.approx((13 / 3 + 3) / 2)  # type: ignore[union-attr]
    assert norm.running_var.item() == pytest.approx((52 / 3 + 2) / 2)  # type: ignore[union-attr]
