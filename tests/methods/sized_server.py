"""A server half with the messages and hand-made replies of clients of several sizes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from common.records import Tensors, to_payload, to_record, to_tensors
from models.sizes.population import Population
from models.sizes.submodels import SubModels
from strategies._run_facts import RunFacts
from strategies.heteroavg import HeteroAvg
from tests.strategies.messages import NodesOnly


class Server:
    """A HeteroAvg whose clients 0, 1, ... are the nodes 11, 12, ..."""

    def __init__(self, model: Any, sizes: Sequence[str], **parameters: Any) -> None:
        self.model = model
        self.state: Tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.strategy = HeteroAvg(**parameters)
        population = Population(sizes, len(sizes), fixed=sizes)
        self.nodes = {client + 11: client for client in range(len(sizes))}
        self.facts = RunFacts(
            len(sizes),
            [name for name, _ in model.named_parameters()],
            client_ids=self.nodes,
            population=population,
            submodels=SubModels(model, population.sizes),
        )
        self.strategy.setup(self.facts)

    def send(self, server_round: int = 1) -> list[Message]:
        config = ConfigRecord({"server-round": server_round})
        grid = NodesOnly(self.nodes)
        return list(self.strategy.configure_train(server_round, to_record(self.state), config, grid))

    def aggregate(self, messages: Sequence[Message], models: Sequence[Tensors]) -> Tensors:
        replies = []
        for message, model in zip(messages, models, strict=True):
            content = RecordDict({"arrays": to_record(model), "metrics": MetricRecord({"num-examples": 10})})
            replies.append(Message(content, reply_to=message))
        arrays, _ = self.strategy.aggregate_train(1, replies)
        assert arrays is not None
        return to_tensors(arrays)


def received(message: Message) -> Tensors:
    return to_payload(message.content)["arrays"]


def changed(section: Mapping[str, torch.Tensor], amount: float = 0.01) -> Tensors:
    """A model after local training: every entry moved, by an amount that depends on its place."""
    moved = {}
    for index, (name, value) in enumerate(section.items()):
        step = amount * (1 + index % 3)
        moved[name] = value + (step if value.is_floating_point() else 3)
    return moved
