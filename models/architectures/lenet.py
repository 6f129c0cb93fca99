"""The small LeNet of MOON (Li et al., CVPR 2021) and NIID-Bench (Li et al., ICDE 2022), "simple-cnn" there.

62,006 parameters on CIFAR-10, 44,426 on MNIST. The projection head of MOON is not part of it.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from models.architectures.images import image_shape
from models.architectures.max_pool import max_pool
from models.classifier import Classifier


class LeNet(Classifier):
    """Two 5x5 convolutions with 6 and 16 channels, fully connected layers with 120 and 84 units."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        self.conv1 = nn.Conv2d(channels, 6, kernel_size=5)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.fc1 = nn.Linear(16 * _side(height) * _side(width), 120)
        self.fc2 = nn.Linear(120, 84)
        self.classifier = nn.Linear(84, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the 84 units after ReLU."""
        x = F.relu(max_pool(self.conv1(x)))  # the numbers of ReLU before pooling, in less time
        x = F.relu(max_pool(self.conv2(x)))
        x = F.relu(self.fc1(x.flatten(1)))
        return F.relu(self.fc2(x))


def _side(side: int) -> int:
    return ((side - 4) // 2 - 4) // 2


def build(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build the network for images of at least 16x16 pixels."""
    return LeNet(image_shape("lenet", input_shape, smallest=16), num_classes)
