"""VGG networks for small images, without normalisation and dropout.

The lists of layers are configurations A, B, D and E of Simonyan and Zisserman, "Very Deep Convolutional
Networks for Large-Scale Image Recognition", ICLR 2015, table 1. Smooth activation, average pooling and a
single linear layer on top are those of Gu et al., "Why (and When) does Local SGD Generalize Better than
SGD?", ICLR 2023.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from models.architectures.images import image_shape
from models.architectures.max_pool import max_pool
from models.architectures.residual import ACTIVATIONS, Activation
from models.classifier import Classifier

# Channels of the 3x3 convolutions of each of the five stages, which end with a 2x2 pooling.
STAGES: dict[int, tuple[tuple[int, ...], ...]] = {
    11: ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    13: ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    16: ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
Pooling = Literal["average", "max"]


class VGG(Classifier):
    """Five stages of 3x3 convolutions with bias; each ends with a pooling that halves the image."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        stages: Sequence[Sequence[int]],
        activation: Callable[[Tensor], Tensor],
        pooling: Pooling,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.pool = functools.partial(F.avg_pool2d, kernel_size=2) if pooling == "average" else max_pool
        inputs, height, width = input_shape
        self.stages = nn.ModuleList()
        for channels in stages:
            stage = nn.ModuleList()
            for outputs in channels:
                stage.append(nn.Conv2d(inputs, outputs, kernel_size=3, padding=1))
                inputs = outputs
            self.stages.append(stage)
        shrink = 2 ** len(stages)
        self.classifier = nn.Linear(inputs * (height // shrink) * (width // shrink), num_classes)
        for param in self.parameters():
            if param.dim() > 1:
                nn.init.kaiming_normal_(param, mode="fan_in", nonlinearity="relu")
            else:
                nn.init.zeros_(param)

    def features(self, x: Tensor) -> Tensor:
        """Return the flattened output of the last pooling: 512 numbers for 32x32 pixels."""
        for stage in self.stages:
            for conv in stage:  # type: ignore[attr-defined]
                x = self.activation(conv(x))
            x = self.pool(x)
        return x.flatten(1)


def vgg_build(model: str, depth: int) -> Callable[..., nn.Module]:
    """Return the ``build`` of a VGG network.

    Parameters
    ----------
    model : str
        Name of the model, for messages.
    depth : int
        Which of the lists of layers: 11, 13, 16 or 19.
    """

    def build_vgg(
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        activation: Activation = "silu",
        pooling: Pooling = "average",
    ) -> nn.Module:
        """Build the network for images of at least 32x32 pixels."""
        shape = image_shape(model, input_shape, smallest=32)
        return VGG(shape, num_classes, STAGES[depth], ACTIVATIONS[activation], pooling)

    return build_vgg


BUILDS = {f"vgg{depth}": vgg_build(f"vgg{depth}", depth) for depth in STAGES}
