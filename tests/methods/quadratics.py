"""Clients with the loss Q(h, b) = (h / 2) (w - b)^2 in float64, run through the real hooks and strategy."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from torch import nn

from clients.base import Client
from clients.optimizers import make_optimizer
from clients.training import Batch
from clients.worker import Worker
from common.config import Config, Value, merge
from common.methods import Method, load_method
from common.records import ARRAYS, METRICS, Section, to_record, to_section, to_sections
from datasets.dataset import Split
from runtimes.flower_internals import assume_task_identity
from strategies.fedavg import FedAvg


class Point(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(size, dtype=torch.float64))


class QuadraticWorker(Worker):
    """A worker whose clients hold `counts` examples that mean nothing."""

    def __init__(self, config: Config, counts: Sequence[int], size: int) -> None:
        self.config = config
        self.device = torch.device("cpu")
        self.model = Point(size)
        self.parameters = dict(self.model.named_parameters())
        self.buffers: Section = {}
        self.initial_state: Section = {}
        self.dropout_layers = []
        self.batch_norm_layers = []
        self.optimizer = make_optimizer(self.parameters.values(), config.local)
        self.normalizer = lambda inputs: inputs  # type: ignore[assignment]
        self.train = Split(torch.zeros(sum(counts), 1), torch.zeros(sum(counts), dtype=torch.int64))
        ends = np.cumsum(counts)
        self._partition = [np.arange(end - count, end) for count, end in zip(counts, ends, strict=True)]


class Federation:
    """A server half and its clients, one quadratic each.

    Parameters
    ----------
    method : str
        Name of the method.
    quadratics : sequence of (h, b)
        One per client; b may be a vector.
    steps : sequence of int
        Local steps of each client.
    """

    def __init__(
        self,
        method: str,
        quadratics: Sequence[tuple[float, float | Sequence[float]]],
        steps: Sequence[int],
        start: Sequence[float] = (0.0,),
        counts: Sequence[int] | None = None,
        local: Mapping[str, Value] | None = None,
        **parameters: Value,
    ) -> None:
        assume_task_identity()
        counts = counts or [1] * len(quadratics)
        given = {key.replace("_", "-"): value for key, value in parameters.items()}
        self.method: Method = load_method(method, given)
        strategy = self.method.make_strategy()
        assert isinstance(strategy, FedAvg)
        strategy.begin_run(len(quadratics), ["w"])
        self.strategy = strategy
        self.w = torch.tensor(start, dtype=torch.float64)
        self.clients = []
        for client_id, (h, b) in enumerate(quadratics):
            config = Config.from_flat(
                merge({"local.steps": steps[client_id], "local.batch-size": 10**6, **(local or {})})
            )
            worker = QuadraticWorker(config, counts, len(start))
            self.clients.append(self._make_client(worker, client_id, h, torch.tensor(b, dtype=torch.float64)))
        self.replies: dict[int, float] = {}
        self.server_round = 0

    def _make_client(self, worker: Worker, client_id: int, h: float, b: torch.Tensor) -> Client:
        class Quadratic(self.method.client_class):  # type: ignore[misc, name-defined]
            def loss(self, params: Section, batch: Batch) -> torch.Tensor:
                return (h / 2 * (params["w"] - b) ** 2).sum()

        return Quadratic(worker, client_id, {}, dict(self.method.client_parameters))

    def round(self, cohort: Sequence[int] | None = None) -> list[float]:
        """Run one round and return the global w."""
        self.server_round += 1
        cohort = range(len(self.clients)) if cohort is None else cohort
        config = ConfigRecord({"server-round": self.server_round})
        grid = SimpleNamespace(get_node_ids=lambda: [client_id + 2 for client_id in cohort])
        messages = self.strategy.configure_train(self.server_round, to_record({"w": self.w}), config, grid)  # type: ignore[arg-type]
        replies = []
        for client_id, message in zip(cohort, messages, strict=True):
            sections, metrics = self.clients[client_id].train(to_sections(message.content), config)
            content = RecordDict({name: to_record(section) for name, section in sections.items()})
            content[METRICS] = MetricRecord(dict(metrics))
            self.replies[client_id] = sections[ARRAYS]["w"].tolist()
            replies.append(Message(content, reply_to=message))
        arrays, _ = self.strategy.aggregate_train(self.server_round, replies)
        assert arrays is not None
        self.w = to_section(arrays)["w"].clone()
        result: list[float] = self.w.tolist()
        return result
