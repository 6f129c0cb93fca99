"""The SimpleCNN of Bao, Crawshaw and Liu (ICML 2024): 5x5 convolutions, strides instead of pooling."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models.architectures.images import image_shape
from models.classifier import Classifier

Head = Literal["learned", "random", "fixed"]


class StridedCnn(Classifier):
    """Convolutions with ReLU; every other one halves the sides and, after the first, doubles the channels."""

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, layers: int, width: int, head: Head
    ) -> None:
        super().__init__()
        channels, height, width_in_pixels = input_shape
        self.convolutions = nn.ModuleList()
        for layer in range(layers):
            out = width if layer == 0 else channels * (1 + (layer + 1) % 2)
            stride = 1 + (layer + 1) % 2
            self.convolutions.append(nn.Conv2d(channels, out, kernel_size=5, stride=stride, padding=2))
            channels = out
            height, width_in_pixels = -(-height // stride), -(-width_in_pixels // stride)
        self.classifier = nn.Linear(channels * height * width_in_pixels, num_classes)
        if head == "fixed":
            _tie_blocks(self.classifier)
        if head != "learned":
            self.classifier.requires_grad_(False)

    def features(self, x: Tensor) -> Tensor:
        """Return the output of the last convolution, flattened."""
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        return x.flatten(1)


@torch.no_grad()
def _tie_blocks(head: nn.Linear) -> None:
    """Make each logit the sum of a separate block of features; leftover features are not used."""
    size = head.in_features // head.out_features
    head.weight.zero_()
    head.bias.zero_()
    for label, weights in enumerate(head.weight):
        weights[label * size : (label + 1) * size] = 1


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    layers: Annotated[int, Field(ge=1, le=8)] = 3,
    width: Annotated[int, Field(ge=1)] = 40,
    head: Head = "learned",
) -> nn.Module:
    """Build the network.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width.
    num_classes : int
        Number of classes.
    layers : int, default 3
        Number of convolutions.
    width : int, default 40
        Channels of the first one: 40 for CIFAR-10, 20 for FEMNIST, 10 for MNIST in the authors' code.
    head : str, default "learned"
        ``random`` leaves the last layer at its initial weights, ``fixed`` at a block-diagonal matrix of ones.
    """
    return StridedCnn(image_shape("strided-cnn", input_shape, smallest=2), num_classes, layers, width, head)
