"""A small model, replies and rounds of FedLoGe."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from torch import Tensor, nn

from clients.fedloge import FedLoGe
from clients.local.worker import Worker
from common.flower import assume_task_identity
from common.records import ARRAYS, METRICS, Payload, Tensors, to_record, to_tensors
from models.classifier import Classifier
from strategies.fedloge import FedLoGe as FedLoGeServer
from tests.clients.jobs import small


class TwoLayers(Classifier):
    """h = V x without bias, then the head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2, bias=False)
        self.classifier = nn.Linear(2, 2)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(2))
            self.classifier.weight.copy_(0.1 * torch.eye(2))
            self.classifier.bias.zero_()

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)
        return features


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(actual: Tensor, *expected: Any) -> None:
    torch.testing.assert_close(actual, tensor(*expected), atol=1e-6, rtol=0)


def reply(client_id: int, num_examples: int, sections: Payload) -> Message:
    content = RecordDict({name: to_record(section) for name, section in sections.items()})
    content[METRICS] = MetricRecord({"num-examples": num_examples})
    return Message(content, dst_node_id=client_id + 2, message_type="train")


@pytest.fixture
def few_head_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FedLoGeServer, "head_steps", 20)


def federation(rounds: int = 1, clients: Sequence[int] = (0, 1), **keys: Any) -> tuple[Tensors, Tensors, Any]:
    """Run rounds of clients on digits; return the model, psi and the local heads."""
    method = {name.removeprefix("method__"): keys.pop(name) for name in list(keys) if "method__" in name}
    shift = keys.pop("shift", {})
    config = small(**{"optimizer__momentum": 0.5, **keys})
    worker = Worker(config)
    assume_task_identity()
    server = FedLoGeServer(**{k: v for k, v in method.items() if hasattr(FedLoGeServer, k)})
    model = server.initial_model({name: v.clone() for name, v in worker.model_state.items()}, config.seed)
    states: dict[int, Payload] = {}
    for server_round in range(1, rounds + 1):
        messages = []
        for client_id in clients:
            of_client = {k: v for k, v in method.items() if hasattr(FedLoGe, k)}
            client = FedLoGe(worker, client_id, states.get(client_id), of_client)
            if client_id in shift:
                client.state = client.init_state()
                client.state["local-head"]["weight"] += shift[client_id]
            received = {ARRAYS: model, **server.broadcast(server_round)}
            sections, metrics = client.train(received, ConfigRecord({"server-round": server_round}))
            states[client_id] = client.state
            messages.append(reply(client_id, int(metrics["num-examples"]), sections))
        arrays, _ = server.aggregate_train(server_round, messages)
        assert arrays is not None
        model = {**model, **to_tensors(arrays)}
    return model, server.global_head, {k: state["local-head"] for k, state in states.items()}


def same(first: Tensors, second: Tensors) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)
