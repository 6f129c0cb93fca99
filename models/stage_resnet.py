"""The ResNet of InCo Aggregation, which splits by stages (Chan et al., ICLR 2024, section 5.1 and table 7).

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: basic blocks behind the stem for
ImageNet, a 7x7 convolution of stride 2 and max-pooling, on images of any size. Its sub-models have fewer
blocks in each of the four stages, or narrower layers. Entries are named as in torchvision, but for the head.
"""

import copy
import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.config import Positive
from common.errors import UserError, nearest
from models.classifier import Classifier
from models.images import image_shape
from models.residual import Norm, NormFactory
from models.submodels import Splittable, keep_blocks

NUM_STAGES = 4
DEPTHS = {
    "resnet10": (1, 1, 1, 1),
    "resnet14": (1, 1, 2, 2),
    "resnet18": (2, 2, 2, 2),
    "resnet22": (2, 2, 3, 3),
    "resnet26": (3, 3, 3, 3),
}
"""Blocks per stage of the five sizes of the paper; ``1`` to ``5`` stand for them, too."""
LEVELS = {"a": 1.0, "b": 1 / 2, "c": 1 / 4, "d": 1 / 8, "e": 1 / 16}
"""HeteroFL's names of widths, relative to the server's."""


class Scaler(nn.Module):
    """Divides by the relative width of a sub-model in training mode (HeteroFL, section 3.2)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return x / rate in training mode, else x itself."""
        return x / self.rate if self.training and self.rate != 1 else x


class Block(nn.Module):
    """Two 3x3 convolutions, each followed by scaler and normalisation, around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: NormFactory, rate: float) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.bn1 = norm(outputs)
        self.conv2 = _conv(outputs, outputs, 3)
        self.bn2 = norm(outputs)
        self.scaler = Scaler(rate)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block after ReLU."""
        residual = F.relu(self.bn1(self.scaler(self.conv1(x))))
        residual = self.bn2(self.scaler(self.conv2(residual)))
        if self.downsample is not None:
            convolution, norm = self.downsample
            x = norm(self.scaler(convolution(x)))
        return F.relu(residual + x)


class StageResNet(Splittable):
    """Four stages of blocks; every stage but the first halves the image.

    Parameters
    ----------
    channels : int
        Channels of the input.
    num_classes : int
        Number of classes.
    widths, blocks : sequence of int
        Channels and number of blocks of each stage.
    norm : callable
        Makes the normalisation layer for a number of channels.
    rate : float, default 1
        Width relative to the server's model, for the scalers.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        norm: NormFactory,
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.widths, self.blocks, self._norm = tuple(widths), tuple(blocks), norm
        self.conv1 = _conv(channels, widths[0], 7, 2)
        self.bn1 = norm(widths[0])
        self.scaler = Scaler(rate)
        inputs = widths[0]
        for stage, (outputs, count) in enumerate(zip(widths, blocks, strict=True)):
            layer = nn.Sequential()
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                layer.append(Block(inputs, outputs, stride, norm, rate))
                inputs = outputs
            self.add_module(f"layer{stage + 1}", layer)
        self.classifier = nn.Linear(inputs, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the channels of the last stage, averaged over the image."""
        x = F.relu(self.bn1(self.scaler(self.conv1(x))))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(NUM_STAGES):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x.mean(dim=(2, 3))

    def size_name(self, text: str) -> str:
        """Return the name of a size: ``resnet14`` (or ``2``), ``1-1-2-2``, or a width ``w0.5`` (or ``b``)."""
        if text.isdecimal() and 1 <= int(text) <= len(DEPTHS):
            text = list(DEPTHS)[int(text) - 1]
        if text in LEVELS:
            text = f"w{LEVELS[text]:g}"
        if text in DEPTHS or re.fullmatch(r"\d+(-\d+){3}", text):
            blocks = DEPTHS.get(text) or tuple(map(int, text.split("-")))
            if any(not 1 <= mine <= all_ for mine, all_ in zip(blocks, self.blocks, strict=True)):
                have = "-".join(map(str, self.blocks))
                raise UserError(f"model.sizes: '{text}' is no part of a model with {have} blocks per stage")
            return next((name for name, known in DEPTHS.items() if known == blocks), text)
        if match := re.fullmatch(r"w(\d*\.?\d+)", text):
            if 0 < (rate := float(match[1])) <= 1:
                return f"w{rate:g}"
            raise UserError(f"model.sizes: a width is above 0 and at most 1, not '{text}'")
        known = [*DEPTHS, *LEVELS]
        raise UserError(
            f"model.sizes: there is no size '{text}'{nearest(text, known)} (sizes: resnet10 to resnet26 or"
            " 1 to 5, blocks per stage such as 1-1-2-2, widths such as w0.5, or a to e)"
        )

    def submodel(self, size: str) -> Classifier:
        """Return a copy with fewer blocks, or a narrower model with the leading channels."""
        if not size.startswith("w"):
            blocks = DEPTHS.get(size) or tuple(map(int, size.split("-")))
            smaller = keep_blocks(self, {f"layer{i + 1}": count for i, count in enumerate(blocks)})
            assert isinstance(smaller, StageResNet)
            smaller.blocks = blocks
            return smaller
        rate = float(size[1:])
        if rate == 1:
            return copy.deepcopy(self)
        if self.projection is not None:
            raise UserError("model.sizes: a model with model.projection cannot be made narrower; set it to 0")
        with torch.random.fork_rng(devices=[]):
            narrow = StageResNet(
                self.conv1.in_channels,
                self.classifier.out_features,
                widths=[math.ceil(rate * width - 1e-9) for width in self.widths],  # 0.1 x 30 is 3
                blocks=self.blocks,
                norm=self._norm,
                rate=rate,
            )
        own = self.state_dict()
        narrow.load_state_dict(
            {name: own[name][tuple(map(slice, v.shape))] for name, v in narrow.state_dict().items()}
        )
        return narrow

    def width_dimensions(self) -> Mapping[str, tuple[int, ...]]:
        """Return the dimensions that run over channels: not the colours, nor the classes."""
        own = {"conv1.weight": (0,), "classifier.weight": (1,), "classifier.bias": ()}
        kinds = {4: (0, 1), 1: (0,), 0: ()}
        return {name: own.get(name, kinds.get(v.ndim, ())) for name, v in self.state_dict().items()}


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    blocks: str = "resnet26",
    width: Positive = 64,
    norm: Norm = "batch",
    groups: Positive = 2,
) -> nn.Module:
    """Build the network for images.

    Parameters
    ----------
    blocks : str, default "resnet26"
        Blocks per stage, ``3-3-3-3``, or one of the names in ``DEPTHS``.
    width : int, default 64
        Channels of the first stage; each stage has twice those of the one before.
    norm, groups
        ``batch``, or ``group`` with so many groups.
    """
    if blocks not in DEPTHS and not re.fullmatch(r"[1-9]\d*(-[1-9]\d*){3}", blocks):
        raise UserError(
            f"model.blocks of 'stage-resnet' is one of {', '.join(DEPTHS)}, or four numbers of blocks such as"
            f" 1-1-2-2, not '{blocks}'"
        )
    channels, _, _ = image_shape("stage-resnet", input_shape)
    return StageResNet(
        channels,
        num_classes,
        widths=[width * 2**stage for stage in range(NUM_STAGES)],
        blocks=DEPTHS.get(blocks) or [int(count) for count in blocks.split("-")],
        norm=nn.BatchNorm2d if norm == "batch" else lambda channels: _group_norm(groups, channels),
    )


def _group_norm(groups: int, channels: int) -> nn.GroupNorm:
    if channels % groups:
        raise UserError(f"model.groups of 'stage-resnet' must divide {channels} channels, not {groups}")
    return nn.GroupNorm(groups, channels, eps=1e-5)


def _conv(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
