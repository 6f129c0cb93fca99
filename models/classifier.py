"""The interface of every model: features, then one linear layer called ``classifier``."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError

FeatureKind = Literal["plain", "normalized", "batch-normalized"]


class Classifier(nn.Module, ABC):
    """A body that computes features, an optional projection of them, and a linear head.

    Personalised methods split a model by name (``models.heads.parts``): the head is ``classifier.*``, the
    body everything else.

    Attributes
    ----------
    projection : torch.nn.Module or None
        Between the features and the head, if :func:`add_projection` has put one there.
    classifier : torch.nn.Linear
        The last layer; it returns logits.
    """

    classifier: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self.projection: nn.Module | None = None

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return the output of the last hidden layer, the features of the samples."""

    def embed(self, x: Tensor) -> Tensor:
        """Return the input of the head, of shape (..., ``classifier.in_features``)."""
        return self.projected(self.features(x))

    def projected(self, features: Tensor) -> Tensor:
        """Return the projection of features; the features themselves if the model has no projection."""
        return features if self.projection is None else self.projection(features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, of shape (..., classes)."""
        logits: Tensor = self.classifier(self.embed(x))
        return logits


def as_classifier(model: nn.Module) -> Classifier:
    """Return `model` itself.

    Raises
    ------
    UserError
        If it does not separate features from a head.
    """
    if not isinstance(model, Classifier):
        raise UserError(
            "the method or a key needs the features and the head of the model, and"
            f" {type(model).__name__} does not show them: let it derive from"
            " models.classifier.Classifier, or choose another model"
        )
    return model


def add_projection(model: Classifier, size: int) -> None:
    """Insert a two-layer projection between features and head (MOON; Li, He and Song 2021, section 3.2).

    The hidden layer is as wide as the features; the head is replaced by one that takes `size` inputs.
    """
    width, old = model.classifier.in_features, model.classifier
    model.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, size))
    model.classifier = nn.Linear(size, old.out_features, bias=old.bias is not None)


class NormalizedProjection(nn.Module):
    """A linear layer whose output is normalised to unit length and multiplied by a learnable temperature.

    FedETF (Li et al. 2023, section 4): on a frame of unit vectors, logits are temperature times cosines.
    """

    def __init__(self, inputs: int, outputs: int, temperature: float = 10.0) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.temperature = nn.Parameter(torch.tensor(temperature))

    def forward(self, features: Tensor) -> Tensor:
        """Return the scaled directions, (samples, outputs)."""
        directions: Tensor = self.temperature * F.normalize(self.linear(features), dim=-1)
        return directions


class BatchNormalized(nn.Module):
    """BatchNorm over the features, whose output is normalised to unit length."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs)

    def forward(self, features: Tensor) -> Tensor:
        """Return the directions, (samples, features)."""
        return F.normalize(self.norm(features), dim=-1)


def normalize_features(model: Classifier, kind: FeatureKind, size: int = 0) -> None:
    """Insert a projection to unit vectors between features and head.

    Parameters
    ----------
    model : Classifier
        Its head is replaced if its number of inputs changes.
    kind : {"normalized", "batch-normalized"}
        Which projection.
    size : int
        Outputs of ``normalized``; 0: as many as there are features.

    Raises
    ------
    UserError
        If `size` is given and the projection cannot change the number of outputs.
    """
    width, old = model.classifier.in_features, model.classifier
    if kind == "batch-normalized":
        if size:
            raise UserError(
                "model.features 'batch-normalized' has no outputs of its own: model.projection = 0"
            )
        model.projection = BatchNormalized(width)
        return
    model.projection = NormalizedProjection(width, size or width)
    if size and size != width:
        model.classifier = nn.Linear(size, old.out_features, bias=old.bias is not None)


class _Embedding(nn.Module):
    """A view of a model whose forward pass is ``embed``."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.embed(x)


def embed_with(model: Classifier, state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return the embedding of `x` by `model` with the entries of `state` instead of its own."""
    renamed = {f"model.{name}": value for name, value in state.items()}
    result: Tensor = torch.func.functional_call(_Embedding(model), renamed, (x,))
    return result
