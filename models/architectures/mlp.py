"""A perceptron with one hidden layer."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from common.sections import Positive
from models.architectures.layers import Dropout, DropoutProbability
from models.classifier import Classifier


class MultilayerPerceptron(Classifier):
    """Linear, ReLU, dropout, linear on the flattened input."""

    def __init__(self, inputs: int, hidden: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.dropout = Dropout(dropout) if dropout else nn.Identity()
        self.classifier = nn.Linear(hidden, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the hidden units after ReLU and dropout."""
        features: Tensor = self.dropout(F.relu(self.fc1(x.flatten(1))))
        return features


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    hidden: Positive = 64,
    dropout: DropoutProbability = 0.0,
) -> nn.Module:
    """Build the model for input of any shape, with ``hidden`` hidden units followed by dropout."""
    return MultilayerPerceptron(math.prod(input_shape), hidden, num_classes, dropout)
