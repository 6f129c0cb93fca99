"""Asynchronous strategies with given replies."""

import torch

from clients.registry import load_method
from common.clock import ClientSpeeds
from common.config import Config
from common.config_values import merge
from common.records import to_tensors
from common.sections import Value
from strategies._asynchronous import Asynchronous
from strategies._run_facts import RunFacts
from tests.strategies.messages import make_reply

DOUBLE = torch.float64


def configured(count: int = 6, **values: Value) -> Config:
    given = {key.replace("__", ".").replace("_", "-"): value for key, value in values.items()}
    return Config.from_flat(merge({"clients.count": count}, given))


def make(
    method: str, concurrency: int = 6, config: Config | None = None, **parameters: Value
) -> Asynchronous:
    config = config or configured()
    given = {key.replace("_", "-"): value for key, value in parameters.items()}
    strategy = load_method(method, given).make_strategy()
    assert isinstance(strategy, Asynchronous)
    clients = {client_id + 2: client_id for client_id in range(config.clients.count)}
    strategy.setup(
        RunFacts(
            config.clients.count,
            ["w"],
            seed=config.seed,
            cohort_size=concurrency,
            num_examples=torch.arange(1, config.clients.count + 1),
            model_bytes=4_000_000,
            client_ids=clients,
            speeds=ClientSpeeds(config),
        )
    )
    return strategy


def update(
    strategy: Asynchronous, replies: list[tuple[float, int]], x: float = 1.0, drift: float = 0.0
) -> float:
    """Let replies of (y - start, staleness) arrive at a server whose model is x.

    The version that is d updates old has the value x + d `drift`.
    """
    newest = 9
    models = {d: {"w": torch.tensor([x + d * drift], dtype=DOUBLE)} for d in {0, *(d for _, d in replies)}}
    strategy.global_model = models[0]
    strategy.versions = {newest - d: model for d, model in models.items()}
    strategy.arrived = {client: newest - d for client, (_, d) in enumerate(replies)}
    messages = []
    for client, (change, d) in enumerate(replies):
        reply = make_reply({"w": models[d]["w"] + change}, num_examples=client + 1)
        reply.metadata.__dict__["_src_node_id"] = client + 2
        messages.append(reply)
    arrays, _ = strategy.aggregate_train(newest + 1, messages)
    assert arrays is not None
    return float(to_tensors(arrays)["w"])
