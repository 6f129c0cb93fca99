"""A small ConvNeXt (Liu et al., "A ConvNet for the 2020s", CVPR 2022, arXiv:2201.03545, section 2)."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models.architectures.images import image_shape
from models.architectures.residual import Norm, NormFactory, norm_factory
from models.classifier import Classifier

_LAYER_SCALE, _DEVIATION = 1e-6, 0.02


class ConvNeXtBlock(nn.Module):
    """x + gamma * W_2 GELU(W_1 norm(depthwise 7x7 convolution of x)), W_1 being four times as wide."""

    def __init__(self, width: int, norm: NormFactory) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = norm(width)
        self.expand = nn.Conv2d(width, 4 * width, kernel_size=1)
        self.project = nn.Conv2d(4 * width, width, kernel_size=1)
        self.scale = nn.Parameter(torch.full((width, 1, 1), _LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, of the shape of its input."""
        branch: Tensor = self.project(F.gelu(self.expand(self.norm(self.depthwise(x)))))
        return x + self.scale * branch


class ConvNeXt(Classifier):
    """Patches, then stages of blocks; between stages the sides halve and the channels double."""

    def __init__(
        self,
        channels: int,
        num_classes: int,
        widths: list[int],
        depth: int,
        patch_size: int,
        norm: NormFactory,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, widths[0], patch_size, patch_size), norm(widths[0]))
        self.stages = nn.ModuleList()
        for number, width in enumerate(widths):
            blocks: list[nn.Module] = [ConvNeXtBlock(width, norm) for _ in range(depth)]
            if number:
                before = widths[number - 1]
                blocks = [norm(before), nn.Conv2d(before, width, kernel_size=2, stride=2), *blocks]
            self.stages.append(nn.Sequential(*blocks))
        self.norm = norm(widths[-1])
        self.classifier = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_DEVIATION)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """Return the normalised mean of the last stage over the pixels."""
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        normalised: Tensor = self.norm(x.mean(dim=(2, 3), keepdim=True))
        return normalised.flatten(1)


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    width: Annotated[int, Field(ge=1)] = 44,
    depth: Annotated[int, Field(ge=1)] = 3,
    stages: Annotated[int, Field(ge=1, le=6)] = 2,
    patch_size: Annotated[int, Field(ge=1)] = 2,
    norm: Norm = "batch",
    groups: Annotated[int, Field(ge=1)] = 4,
) -> nn.Module:
    """Build the network; the defaults have 272,678 parameters on CIFAR-10, about those of a ResNet-20.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width.
    num_classes : int
        Number of classes.
    width : int, default 44
        Channels of the first stage.
    depth : int, default 3
        Blocks in each stage.
    stages : int, default 2
        Number of stages.
    patch_size : int, default 2
        Side of the patches of the first layer: 2 for CIFAR, 4 in the paper, whose images have 224 pixels.
    norm : str, default "batch"
        ``layer`` is the paper's; ``batch``, ``group`` (of ``groups`` groups) and ``none`` are for comparison.
    groups : int, default 4
        Groups of ``norm = "group"``; they must divide the width.
    """
    smallest = patch_size * 2 ** (stages - 1)
    channels, *_ = image_shape("convnext", input_shape, smallest)
    widths = [width * 2**stage for stage in range(stages)]
    factory = norm_factory("convnext", norm, groups)
    return ConvNeXt(channels, num_classes, widths, depth, patch_size, factory)
