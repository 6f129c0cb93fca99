"""CReFF's server half: classifier re-training with federated features (Shang et al., IJCAI 2022).

arXiv:2204.13399.
"""

from typing import Annotated, ClassVar

import torch
from flwr.app import Message, MetricRecord
from pydantic import Field
from torch.nn import functional as F

from common.randomness import torch_generator
from common.records import ARRAYS, Payload, Tensors
from common.sections import NonNegative, Positive, Value
from models.heads.realignment import HEAD, head_entries
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg

_GRADIENTS = "class-gradients"


class CReFF(FedAvg):
    """Learns federated features for every class, to match the clients' gradients; re-trains the head on them.

    The global model is the averaged body with the re-trained head; clients train from the averaged head,
    which is sent with it (Algorithm 1). Features start as normal noise and are kept between rounds. Their
    gradients are matched to the mean over the clients that hold the class, by 1 - cos for each row of the
    head's weight. The re-training takes epochs of mini-batches of the features of the classes seen so far, as
    the authors' code does with those of all classes. It starts from the averaged head, theirs from a new one.
    """

    SECTIONS = frozenset({ARRAYS, _GRADIENTS})

    EXAMPLE: ClassVar[dict[str, Value]] = {
        "method.features-per-class": 2,
        "method.matching-steps": 2,
        "method.retraining-epochs": 2,
    }

    features_per_class: Positive = 100
    matching_steps: NonNegative = 100
    matching_learning_rate: Annotated[float, Field(gt=0)] = 0.1
    retraining_epochs: NonNegative = 300
    retraining_batch_size: Positive = 32
    retraining_learning_rate: Annotated[float, Field(gt=0)] = 0.01

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.head: Tensors = {}
        self.features = torch.zeros(0)
        self.seen = torch.zeros(0, dtype=torch.bool)

    def how_labels_leak(self) -> str:
        """Return how: clients send gradients by class."""
        return "whose clients send gradients for the classes that they hold"

    def broadcast(self, server_round: int) -> Payload:
        """Send the averaged head."""
        return {"averaged-head": self.head or self._head_of(self.global_model)}

    def trained_from(self, reply: Message, sent: Tensors) -> Tensors:
        """Return the model with the averaged head."""
        return {**sent, **self.head}

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Weight all clients that hold a class equally in its gradients."""
        if name == _GRADIENTS:
            average.add(section, 1.0)
        else:
            super().accumulate(name, average, section, metrics)

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Match the features to the gradients and re-train the averaged head on them."""
        model, gradients = averages[ARRAYS], averages[_GRADIENTS]
        retrained = self._head_of(self.global_model)  # at which clients took the gradients
        self.head = {name: model[name].to(retrained[name].dtype) for name in retrained}
        held = gradients["held"] > 0
        self._begin(len(held), retrained[f"{HEAD}weight"].shape[1])
        targets = (gradients["weight"][held] / gradients["held"][held, None, None]).float()
        self.features[held] = match_features(
            self.features[held],
            held.nonzero().flatten(),
            targets,
            retrained,
            self.matching_steps,
            self.matching_learning_rate,
        )
        self.seen = self.seen | held
        new = retrain_head(
            self.head,
            self.features[self.seen],
            self.seen.nonzero().flatten(),
            self.retraining_epochs,
            self.retraining_batch_size,
            self.retraining_learning_rate,
            torch_generator(self.seed, "retraining", server_round),
        )
        return model | {name: value.double() for name, value in new.items()}

    def _begin(self, classes: int, size: int) -> None:
        if len(self.features):
            self.features, self.seen = self.features.clone(), self.seen.clone()
            return
        generator = torch_generator(self.seed, "federated-features")
        self.features = torch.randn(classes, self.features_per_class, size, generator=generator)
        self.seen = torch.zeros(classes, dtype=torch.bool)

    def _head_of(self, model: Tensors) -> Tensors:
        return {name: value.clone() for name, value in head_entries(model).items()}


def feature_gradients(features: torch.Tensor, labels: torch.Tensor, head: Tensors) -> torch.Tensor:
    """Return the gradient of each class's mean cross-entropy in the head's weight, (labels, classes, d).

    Parameters
    ----------
    features : torch.Tensor
        (labels, samples, d).
    labels : torch.Tensor
        int64, (labels,): the class of each group of features.
    head : Tensors
        The weight, (classes, d), and the bias if there is one.
    """
    errors = _logits(features, head).softmax(dim=-1)
    errors = errors - F.one_hot(labels, errors.shape[-1])[:, None]
    return torch.einsum("lsp,lsd->lpd", errors, features) / features.shape[1]


def gradient_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the sum of 1 - cos over the rows of both gradients (..., d)."""
    return (1 - F.cosine_similarity(first, second, dim=-1)).sum()


def match_features(
    features: torch.Tensor,
    labels: torch.Tensor,
    targets: torch.Tensor,
    head: Tensors,
    steps: int,
    learning_rate: float,
) -> torch.Tensor:
    """Return features after gradient steps on the distance between their gradients and the targets."""
    features = features.clone().requires_grad_()
    for _ in range(steps):
        with torch.enable_grad():
            distance = gradient_distance(feature_gradients(features, labels, head), targets)
        (gradient,) = torch.autograd.grad(distance, features)
        with torch.no_grad():
            features -= learning_rate * gradient
    return features.detach()


def retrain_head(
    head: Tensors,
    features: torch.Tensor,
    labels: torch.Tensor,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
) -> Tensors:
    """Return the head after epochs of SGD on the cross-entropy of the features, (labels, samples, d).

    The gradient is written out, since autograd would take most of the time of so small a step.
    """
    trained = {name: value.clone() for name, value in head.items()}
    weight, bias = trained[f"{HEAD}weight"], trained.get(f"{HEAD}bias")
    inputs = features.flatten(0, 1)
    targets = F.one_hot(labels.repeat_interleave(features.shape[1]), len(weight)).to(weight.dtype)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(inputs), generator=generator), batch_size):
            samples = inputs[batch]
            errors = _logits(samples, trained).softmax(dim=1).sub_(targets[batch])
            rate = learning_rate / len(batch)
            weight.addmm_(errors.T, samples, alpha=-rate)
            if bias is not None:
                bias.sub_(errors.sum(0), alpha=rate)
    return trained


def _logits(features: torch.Tensor, head: Tensors) -> torch.Tensor:
    return F.linear(features, head[f"{HEAD}weight"], head.get(f"{HEAD}bias"))
