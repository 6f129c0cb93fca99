"""pFedHN's server half (Shamsian et al., ICML 2021, arXiv:2103.04628, Algorithm 1)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from pydantic import Field

from common.norms import norm
from common.randomness import torch_generator
from common.records import ARRAYS, Payload, Tensors, to_record, to_tensors
from common.sections import NonNegative, NonNegativeFloat, Positive, Value
from strategies._aggregation import WeightedAverage
from strategies._hypernetwork import Shapes, generated, initial_hypernetwork
from strategies.fedavg import FedAvg


class PFedHN(FedAvg):
    """Sends client i the model theta_i = h(e_i; phi) of a hypernetwork, and trains phi and e_i.

    With D_i = theta_i - y_i, where y_i is the client's trained model, the gradient of phi is the mean over
    the round's clients of (d theta_i / d phi)^T D_i, and that of e_i is (d theta_i / d e_i)^T D_i. SGD with
    momentum and weight decay; their joint norm is clipped. The paper has one client per round.
    ``embedding_size`` 0 is floor(1 + K / 4). Every hidden layer has a ReLU; the authors' code has one layer
    more, the last without. Clients predict with theta_i; the global model that is evaluated centrally is h of
    the mean embedding. Buffers are averaged.
    """

    TRANSIENT = ("_client", "_changes", "_shapes")
    EXAMPLE: ClassVar[dict[str, Value]] = {
        "model.name": "mlp",
        "method.hidden-size": 8,
        "optimizer.learning-rate": 0.005,
    }

    UNUSED: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("model.weights", "model.individual-init"), "which makes the models that clients begin with"
    )

    embedding_size: NonNegative = 0
    hidden_layers: NonNegative = 3
    hidden_size: Positive = 100
    hyper_learning_rate: Annotated[float, Field(gt=0)] = 0.01
    embedding_learning_rate: NonNegativeFloat = 0.01
    hyper_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    hyper_weight_decay: NonNegativeFloat = 1e-3
    hyper_clip_norm: NonNegativeFloat = 50.0
    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.hypernetwork: Tensors = {}
        self.embeddings = torch.zeros(0, 0)  # (clients, embedding size)
        self.velocity: Tensors = {}
        self._client = 0
        self._changes: dict[int, tuple[float, Tensors]] = {}
        self._shapes: Shapes = {}

    def why_not_private(self) -> str:
        """Return the reason: there is no mean over the clients."""
        return "which learns from each client's change"

    def initial_model(self, model: Tensors, seed: int) -> Tensors:
        """Draw the hypernetwork and the embeddings."""
        self._take_shapes(model)
        size = self.embedding_size or 1 + self.num_clients // 4
        generator = torch_generator(seed, "hypernetwork")
        self.embeddings = torch.randn(self.num_clients, size, generator=generator)
        self.hypernetwork = initial_hypernetwork(
            self._shapes, size, self.hidden_layers, self.hidden_size, generator
        )
        own = self._mean_model()
        return {name: own.get(name, x).to(x.dtype) for name, x in model.items()}

    def _take_shapes(self, model: Tensors) -> None:
        self._shapes = {name: model[name].shape for name in self.parameter_names}

    def _mean_model(self) -> Tensors:
        with torch.no_grad():
            return generated(self.hypernetwork, self.embeddings.mean(dim=0), self._shapes)

    def build_messages(self, content: RecordDict, message_type: str, grid: Grid) -> list[Message]:
        """Return a message for each node, with its client's model."""
        self._changes = {}
        model = to_tensors(content.array_records[ARRAYS])
        self._take_shapes(model)
        messages = []
        for node in grid.get_node_ids():
            with torch.no_grad():
                own = generated(self.hypernetwork, self.embeddings[self.client_ids[node]], self._shapes)
            arrays = to_record({name: own.get(name, x).to(x.dtype) for name, x in model.items()})
            messages.append(
                Message(RecordDict({**content, ARRAYS: arrays}), dst_node_id=node, message_type=message_type)
            )
        return messages

    def before_reply(self, reply: Message) -> None:
        """Look up the reply's client."""
        self._client = self.client_of(reply)

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Record the client's trained model."""
        trained = {key: section[key].clone() for key in self._shapes}
        self._changes[self._client] = (self.weight(metrics), trained)
        super().accumulate(name, average, section, metrics)

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step the hypernetwork and the embeddings."""
        gradients = self._gradients()
        length = float(norm(gradients))
        scale = min(1.0, self.hyper_clip_norm / (length + 1e-6)) if self.hyper_clip_norm else 1.0
        trained = {**self.hypernetwork, "embeddings": self.embeddings}
        for name, gradient in gradients.items():
            old = self.velocity.get(name, torch.zeros_like(gradient))
            decayed = scale * gradient + self.hyper_weight_decay * trained[name]
            self.velocity[name] = self.hyper_momentum * old + decayed
            rate = self.embedding_learning_rate if name == "embeddings" else self.hyper_learning_rate
            trained[name] = trained[name] - rate * self.velocity[name]
        self.embeddings = trained.pop("embeddings")
        self.hypernetwork = trained
        return averages[ARRAYS] | self._mean_model()

    def _gradients(self) -> Tensors:
        """Return the gradients of phi and of all embeddings; zero for absent clients."""
        weights = {name: value.clone().requires_grad_() for name, value in self.hypernetwork.items()}
        total = sum(weight for weight, _ in self._changes.values())
        sums = {name: torch.zeros_like(value) for name, value in weights.items()}
        of_embeddings = torch.zeros_like(self.embeddings)
        for client, (weight, trained) in self._changes.items():
            embedding = self.embeddings[client].clone().requires_grad_()
            model = generated(weights, embedding, self._shapes)
            changes = [value.detach() - trained[name].to(value.dtype) for name, value in model.items()]
            inputs = [*weights.values(), embedding]
            *found, own = torch.autograd.grad(list(model.values()), inputs, changes)
            for name, gradient in zip(weights, found, strict=True):
                sums[name] += weight / total * gradient
            of_embeddings[client] = own
        return {**sums, "embeddings": of_embeddings}
