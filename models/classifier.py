"""The shape that every model has: features, then one linear layer called ``classifier``."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Classifier(nn.Module, ABC):
    """A body that computes features and a linear head.

    Personalised methods split a model by name: the head is ``classifier.*``, the body everything else.

    Attributes
    ----------
    classifier : torch.nn.Linear
        The last layer; it returns logits.
    """

    classifier: nn.Linear

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Return what the classifier sees, of shape (batch, ``classifier.in_features``)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, of shape (batch, classes)."""
        logits: Tensor = self.classifier(self.features(x))
        return logits
