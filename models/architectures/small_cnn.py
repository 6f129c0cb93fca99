"""A small network for digits and 28x28 images: the CNN of the benchmarks of pfl-research.

Granqvist et al., "pfl-research: simulation framework for accelerating research in private federated
learning", NeurIPS 2024: two 3x3 convolutions with 32 and 64 channels, one pooling, one hidden layer, dropout.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from common.sections import Positive
from models.architectures.images import image_shape
from models.architectures.layers import Dropout, DropoutProbability
from models.architectures.max_pool import max_pool
from models.classifier import Classifier


class SmallCnn(Classifier):
    """Two unpadded 3x3 convolutions, 2x2 max pooling, one hidden layer."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        channels: int,
        hidden: int,
        dropout1: float,
        dropout2: float,
    ) -> None:
        super().__init__()
        input_channels, height, width = input_shape
        self.conv1 = nn.Conv2d(input_channels, channels, kernel_size=3)
        self.conv2 = nn.Conv2d(channels, 2 * channels, kernel_size=3)
        self.dropout1 = Dropout(dropout1)
        self.fc1 = nn.Linear(2 * channels * ((height - 4) // 2) * ((width - 4) // 2), hidden)
        self.dropout2 = Dropout(dropout2)
        self.classifier = nn.Linear(hidden, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the hidden units after ReLU and dropout."""
        x = self.conv2(F.relu(self.conv1(x)))
        x = self.dropout1(F.relu(max_pool(x)))  # the numbers of ReLU before pooling, in less time
        x = F.relu(self.fc1(x.flatten(1)))
        features: Tensor = self.dropout2(x)
        return features


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    channels: Positive = 32,
    hidden: Positive = 128,
    dropout1: DropoutProbability = 0.25,
    dropout2: DropoutProbability = 0.5,
) -> nn.Module:
    """Build the network for images of at least 6x6 pixels.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width.
    num_classes : int
        Number of classes.
    channels : int, default 32
        Channels of the first convolution; the second has twice as many.
    hidden : int, default 128
        Units of the hidden layer.
    dropout1 : float, default 0.25
        Dropout probability after the pooling.
    dropout2 : float, default 0.5
        Dropout probability after the hidden layer.
    """
    return SmallCnn(
        image_shape("small-cnn", input_shape, smallest=6), num_classes, channels, hidden, dropout1, dropout2
    )
