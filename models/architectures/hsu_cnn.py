"""The CIFAR network of Hsu et al. (2020).

Hsu, Qi and Brown, "Federated Visual Classification with Real-World Data Distribution", ECCV 2020. Two 5x5
convolutions with 64 channels, two fully connected layers with 384 and 192 units; no normalisation and no
dropout.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from common.sections import NonNegative
from models.architectures.images import image_shape
from models.architectures.max_pool import max_pool
from models.classifier import Classifier


class HsuCnn(Classifier):
    """LeNet-like network; its features are the 192 units of the second fully connected layer."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, padding: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        self.conv1 = nn.Conv2d(channels, 64, kernel_size=5, padding=padding)
        self.conv2 = nn.Conv2d(64, 64, kernel_size=5, padding=padding)
        self.fc1 = nn.Linear(64 * _side(height, padding) * _side(width, padding), 384)
        self.fc2 = nn.Linear(384, 192)
        self.classifier = nn.Linear(192, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the 192 units after ReLU."""
        x = F.relu(max_pool(self.conv1(x)))  # the numbers of ReLU before pooling, in less time
        x = F.relu(max_pool(self.conv2(x)))
        x = F.relu(self.fc1(x.flatten(1)))
        return F.relu(self.fc2(x))


def _side(side: int, padding: int) -> int:
    for _ in range(2):
        side = (side + 2 * padding - 4) // 2
    return side


def build(input_shape: tuple[int, ...], num_classes: int, *, padding: NonNegative = 0) -> nn.Module:
    """Build the network for images.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width.
    num_classes : int
        Number of classes.
    padding : int, default 0
        Zero padding of both convolutions: 0 is the model of the paper (815,332 parameters on CIFAR-100),
        2 the "same" padding that some reproductions use (1,773,796).
    """
    smallest = next(side for side in range(1, 17) if _side(side, padding) >= 1)
    return HsuCnn(image_shape("hsu-cnn", input_shape, smallest), num_classes, padding)
