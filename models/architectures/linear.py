"""Multinomial logistic regression on the flattened input."""

import math

from torch import Tensor, nn

from models.classifier import Classifier


class LinearModel(Classifier):
    """One linear layer; the features are the input itself."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(inputs, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the flattened input."""
        return x.flatten(1)


def build(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build the model for input of any shape."""
    return LinearModel(math.prod(input_shape), num_classes)
