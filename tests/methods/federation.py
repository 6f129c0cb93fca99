"""Clients with given losses in float64, run through the real hooks and strategies, without messages."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from torch import nn

from clients.base import Client
from clients.local.batches import Batch
from clients.local.optimizers import make_optimizer
from clients.local.worker import Worker
from clients.registry import Method, load_method
from common.clock import ClientSpeeds
from common.config import Config
from common.config_values import merge
from common.flower import assume_task_identity
from common.records import (
    ARRAYS,
    CONFIG,
    METRICS,
    PARTICIPATION_WEIGHT,
    Tensors,
    to_payload,
    to_record,
    to_tensors,
)
from common.sections import Value
from common.topologies import Topology
from datasets.dataset import Split
from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg

Loss = Callable[[Client, Tensors, Batch], torch.Tensor]


class LossWorker(Worker):
    """A worker whose clients hold `counts` examples that mean nothing."""

    def __init__(self, config: Config, counts: Sequence[int], model: nn.Module) -> None:
        self.config = config
        self.device = torch.device("cpu")
        self.model = model
        self.parameters = dict(self.model.named_parameters())
        self.buffers = {}
        self.initial_model = {name: value.detach().clone() for name, value in self.parameters.items()}
        self.dropout_layers = []
        self.own_generators = []
        self.runs_outside_code = True
        self.batch_norm_layers = []
        self.optimizer = make_optimizer(self.parameters.values(), config.optimizer)
        self.normalizer = lambda inputs: inputs  # type: ignore[assignment]
        self.dataset = SimpleNamespace(num_classes=2)  # type: ignore[assignment]
        self.train = Split(torch.zeros(sum(counts), 1), torch.zeros(sum(counts), dtype=torch.int64))
        ends = np.cumsum(counts)
        self._partition = [np.arange(end - count, end) for count, end in zip(counts, ends, strict=True)]


class LossFederation:
    """A server half and its clients, one loss each.

    Parameters
    ----------
    method : str
        Name of the method.
    losses : sequence of callable
        One per client, of (client, params, batch).
    steps : sequence of int
        Local steps of each client.
    make_model : callable
        Builds the initial model, in float64.
    """

    def __init__(
        self,
        method: str,
        losses: Sequence[Loss],
        steps: Sequence[int],
        make_model: Callable[[], nn.Module],
        counts: Sequence[int] | None = None,
        local: Mapping[str, Value] | None = None,
        **parameters: Value,
    ) -> None:
        assume_task_identity()
        counts = counts or [1] * len(losses)
        given = {key.replace("_", "-"): value for key, value in parameters.items()}
        self.method: Method = load_method(method, given)
        self.clients = []
        for client_id, loss in enumerate(losses):
            config = Config.from_flat(
                merge({"local.steps": steps[client_id], "local.batch-size": 10**6, **(local or {})})
            )
            worker = LossWorker(config, counts, make_model())
            self.clients.append(self._make_client(worker, client_id, loss))
        personal = self.clients[0].personal_names()
        self.model = {
            name: v for name, v in self.clients[0].worker.initial_model.items() if name not in personal
        }
        strategy = self.method.make_strategy()
        assert isinstance(strategy, FedAvg)
        self.num_examples = torch.tensor(counts)
        ids = {client_id + 2: client_id for client_id in range(len(losses))}
        config = config.with_clients(len(losses))
        strategy.setup(
            RunFacts(
                len(losses),
                list(self.model),
                num_examples=self.num_examples,
                client_ids=ids,
                speeds=ClientSpeeds(config),
                topology=Topology(config.topology, len(losses), config.seed),
            )
        )
        self.strategy = strategy
        self.replies: dict[int, Tensors] = {}
        self.server_round = 0

    def _make_client(self, worker: Worker, client_id: int, loss: Loss) -> Client:
        class WithLoss(self.method.client_class):  # type: ignore[misc, name-defined]
            def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
                return loss(self, params, batch)

        return WithLoss(worker, client_id, {}, dict(self.method.client_parameters))

    def run_round(
        self, cohort: Sequence[int] | None = None, corrections: Mapping[int, float] | None = None
    ) -> Tensors:
        """Run one round, perhaps with a participation scheme's corrections of weights; return the model."""
        self.server_round += 1
        cohort = range(len(self.clients)) if cohort is None else cohort
        config = ConfigRecord({"server-round": self.server_round})
        grid = SimpleNamespace(get_node_ids=lambda: [client_id + 2 for client_id in cohort])
        messages = self.strategy.configure_train(self.server_round, to_record(self.model), config, grid)  # type: ignore[arg-type]
        replies = []
        for client_id, message in zip(cohort, messages, strict=True):
            job = message.content.config_records[CONFIG]
            sections, metrics = self.clients[client_id].train(to_payload(message.content), job)
            content = RecordDict({name: to_record(section) for name, section in sections.items()})
            if corrections:
                metrics[PARTICIPATION_WEIGHT] = corrections[client_id]
            content[METRICS] = MetricRecord(dict(metrics))
            self.replies[client_id] = {n: value.detach().clone() for n, value in sections[ARRAYS].items()}
            replies.append(Message(content, reply_to=message))
        arrays, _ = self.strategy.aggregate_train(self.server_round, replies)
        assert arrays is not None
        self.model = {name: value.clone() for name, value in to_tensors(arrays).items()}
        return self.model
