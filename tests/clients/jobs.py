"""Local training on digits, without messages."""

from dataclasses import dataclass, field

import torch
from flwr.app import ConfigRecord

from clients.base import Client
from clients.local.worker import Worker
from common.config import Config
from common.records import Payload, Tensors
from common.sections import Value
from tests.common.configs import make_config

SMALL: dict[str, Value] = {
    "device": "cpu",
    "clients.count": 6,
    "model.name": "mlp",
    "local.steps": 5,
    "local.batch-size": 16,
    "optimizer.learning-rate": 0.1,
    "rounds": 10,
}


def small(**keys: Value) -> Config:
    """A configuration for the digits; ``local__batch_size`` stands for ``local.batch-size``."""
    layer = {key.replace("__", ".").replace("_", "-"): value for key, value in keys.items()}
    return make_config(SMALL, layer)


def global_model(config: Config) -> Tensors:
    """The model that all clients start from, with buffers that are not those of a new model."""
    state = Worker(config).model_state
    return {
        name: value.detach().clone() + (0.25 if "running" in name else 0) for name, value in state.items()
    }


@dataclass
class Result:
    """What a client sends and keeps."""

    model: Tensors
    sections: Payload
    metrics: dict[str, int | float]
    client: Client
    state: Payload = field(default_factory=dict)


def train(
    worker: Worker,
    client_id: int,
    model: Tensors,
    server_round: int = 1,
    state: Payload | None = None,
    client_class: type[Client] = Client,
) -> Result:
    """Train one client and copy what it sends; `state` is as left by an earlier result."""
    client = client_class(worker, client_id, dict(state or {}))
    sections, metrics = client.train({"arrays": model}, ConfigRecord({"server-round": server_round}))
    copies = {
        name: {key: value.detach().clone() for key, value in section.items()}
        for name, section in sections.items()
    }
    return Result(copies["arrays"], copies, metrics, client, client.state)


def equal(first: Tensors, second: Tensors) -> bool:
    """Whether two sections have the same names and bits."""
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)
