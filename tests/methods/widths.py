"""Clients of HeteroFL and FedRolex, which hold some of the channels of a model."""

from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import Message, MetricRecord, RecordDict
from torch import nn

from common.records import Tensors, to_record, to_tensors
from models import build_model
from models.classifier import Classifier
from models.sizes.submodels import Splittable
from strategies.heterofl import HeteroFL
from tests.methods.sized_server import Server


class Hidden(Splittable):
    """A hidden vector of n channels and a linear head of three classes."""

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


def resnet() -> Any:
    return build_model("stage-resnet", (1, 8, 8), 4, {"width": 4, "blocks": "1-1-1-2"})


def check_uniform_averaging(strategy: HeteroFL, server_round: int) -> None:
    """Check that with all rates 1 a round is a uniform mean."""
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
