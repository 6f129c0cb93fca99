"""Shared by decentralised methods: a model per client, and mixing with the neighbours of ``topology.*``."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid

from common.config import Config
from common.errors import UserError
from common.norms import squared_norm
from common.records import ARRAYS, Payload, Tensors, to_record, to_tensors
from common.topologies import Topology
from strategies._aggregation import WeightedAverage
from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg

Stack = dict[str, torch.Tensor]
"""The models of all clients: name → tensor with the clients as its first dimension."""


class Decentralised(FedAvg):
    """Clients with one model each, which they exchange with their neighbours; all weigh the same.

    The server simulates the network: it keeps the clients' models, sends each client its own and mixes the
    replies. A client whose reply is lost has taken no step. Counters among the buffers are averaged. The
    global model is the mean of the clients' models. metrics.csv has the ``consensus_distance``,
    sqrt(1/n sum_i ||x_i - mean||^2) over the trainable entries (Kong et al. 2021, arXiv:2102.04828), the
    ``spectral_gap`` of the round's W if it has one, and ``peer_bytes``, the traffic on the links of a real
    network.

    Attributes
    ----------
    models : dict
        section → `Stack`: the clients' models and other sections; empty before the first round.
    trained : dict
        The same after the local steps of the current round.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("consensus_distance",)
    SECTIONS = frozenset({ARRAYS, "optimizer"})
    TRANSIENT: ClassVar[tuple[str, ...]] = ("topology", "trained", "_client")

    UNUSED: ClassVar[Mapping[str, str]] = {"method.weighting": "whose clients average as topology.* says"}

    weighting = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.weighs_replies = False
        self.models: dict[str, Stack] = {}
        self.trained: dict[str, Stack] = {}
        self.topology: Topology | None = None
        self._client = 0

    def check(self, config: Config) -> None:
        """Refuse rounds that leave clients out, and a topology that does not exist."""
        super().check(config)
        name = config.method.name
        if config.participation.name != "uniform" or config.clients.fraction != 1:
            raise UserError(
                f"'{name}' has no server that could choose clients: set clients.fraction = 1.0 and leave"
                " participation.name at 'uniform'"
            )
        if config.stragglers.policy == "drop":
            raise UserError(f"'{name}' leaves out no client: stragglers.policy must be 'keep'")
        self.check_topology(Topology(config.topology, config.clients.count, config.seed), name)

    def check_topology(self, topology: Topology, method: str) -> None:
        """Raise a `UserError` if the method cannot work with these links."""
        topology.links  # noqa: B018 - are checked as they are made

    def why_not_private(self) -> str:
        """Return the reason: clients send their models to each other."""
        return "whose clients send their models to each other"

    def setup(self, run: RunFacts) -> None:
        """Take the topology."""
        super().setup(run)
        self.topology = run.topology

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore; checkpoints of earlier versions have ``models`` as ``workers``."""
        super().restore({"models" if name == "workers" else name: value for name, value in state.items()})

    # Sending each client its own model.

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Start a round; in the first one all clients have the same model."""
        if not self.models:
            self.begin(to_tensors(arrays))
        self.trained = {
            section: {name: value.clone() for name, value in stack.items()}
            for section, stack in self.sent().items()
        }
        return super().configure_train(server_round, arrays, config, grid)

    def begin(self, model: Tensors) -> None:
        """Set all clients' models to `model`."""
        self.models = {ARRAYS: self._alike(model)}

    def sent(self) -> dict[str, Stack]:
        """Return the sections from which the clients start this round."""
        return self.models

    def _alike(self, model: Tensors) -> Stack:
        return {name: value.expand(self.num_clients, *value.shape).clone() for name, value in model.items()}

    def build_messages(self, content: RecordDict, message_type: str, grid: Grid) -> list[Message]:
        """Return a message for each node, with its client's model."""
        sections = self.sent() if message_type == MessageType.TRAIN else self._models()
        messages = []
        for node in grid.get_node_ids():
            client = self.client_ids[node]
            own = {
                section: to_record({name: value[client] for name, value in stack.items()})
                for section, stack in sections.items()
            }
            messages.append(
                Message(RecordDict({**content, **own}), dst_node_id=node, message_type=message_type)
            )
        return messages

    def _models(self) -> dict[str, Stack]:
        return {ARRAYS: self.models[ARRAYS]} if self.models else {}

    # Receiving the trained models.

    def before_reply(self, reply: Message) -> None:
        """Look up the reply's client."""
        self._client = self.client_of(reply)

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Store the client's trained model; its counters are averaged."""
        if name not in self.trained:  # optimiser state, which no client had before
            self.trained[name] = self._alike({key: torch.zeros_like(x) for key, x in section.items()})
        for key, value in section.items():
            self.trained[name][key][self._client] = value
        super().accumulate(name, average, section, metrics)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Mix, also where all replies are lost: the clients are linked with each other all the same."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is None:
            model = self.update({ARRAYS: self.global_model}, server_round)
            arrays = to_record(
                {name: value.to(self.global_model[name].dtype) for name, value in model.items()}
            )
        return arrays, metrics

    def mix(self, server_round: int) -> dict[str, Stack]:
        """Return the sections from which clients start the next round, floating entries in float64."""
        raise NotImplementedError

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Mix, and return the mean of the clients' models."""
        mixed = self.mix(server_round)
        model: Tensors = {}
        for section, stack in mixed.items():
            for name, value in stack.items():
                dtype = self.trained[section][name].dtype
                if not dtype.is_floating_point:
                    if section in averages:  # otherwise all replies are lost, and nobody has counted on
                        mixed[section][name] = averages[section][name].expand_as(value).clone()
                elif section == ARRAYS:
                    model[name] = value.mean(dim=0)
        self.round_metrics = self.measures(mixed[ARRAYS], server_round)
        self.models = {section: self.as_kept(stack, section) for section, stack in mixed.items()}
        return averages[ARRAYS] | model

    def as_kept(self, stack: Stack, section: str = ARRAYS) -> Stack:
        """Return a stack in the precision in which it is sent; BatchNorm variances are kept at least 0."""
        return {
            name: (value.clamp(min=0) if name.endswith("running_var") else value).to(
                self.trained[section][name].dtype
            )
            for name, value in stack.items()
        }

    def measures(self, models: Stack, server_round: int) -> dict[str, float]:
        """Return the round's columns of metrics.csv; by default the clients' distance from their mean."""
        apart = {name: models[name] - models[name].mean(dim=0) for name in self.parameter_names}
        return {"consensus_distance": float((squared_norm(apart) / self.num_clients).sqrt())}

    @property
    def bytes_of_client(self) -> int:
        """Bytes that a client sends over one link."""
        return sum(
            value[0].numel() * value.element_size()
            for stack in self.trained.values()
            for value in stack.values()
        )


def mixed(weights: torch.Tensor, stack: Stack) -> Stack:
    """Return W X for each floating entry of a stack, in float64."""
    return {
        name: (weights @ value.double().reshape(len(value), -1)).view(value.shape)
        if value.is_floating_point()
        else value
        for name, value in stack.items()
    }
