"""A perceptron with one hidden layer."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from common.sections import Positive
from models.classifier import Classifier


class MultilayerPerceptron(Classifier):
    """Linear, ReLU, linear on the flattened input."""

    def __init__(self, inputs: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.classifier = nn.Linear(hidden, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the hidden units after ReLU."""
        return F.relu(self.fc1(x.flatten(1)))


def build(input_shape: tuple[int, ...], num_classes: int, *, hidden: Positive = 64) -> nn.Module:
    """Build the model for input of any shape, with ``hidden`` hidden units."""
    return MultilayerPerceptron(math.prod(input_shape), hidden, num_classes)
