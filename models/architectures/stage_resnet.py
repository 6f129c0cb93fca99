"""The ResNet of InCo Aggregation, which splits by stages (Chan et al., ICLR 2024, section 5.1 and table 7).

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: basic blocks behind the stem for
ImageNet, a 7x7 convolution of stride 2 and max-pooling, on images of any size. Its sub-models have fewer
blocks in each of the four stages, or narrower layers, or end at an early exit. Entries are named as in
torchvision, except the heads.
"""

import copy
import math
import re
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError, nearest
from common.sections import Positive
from models.architectures.images import image_shape
from models.architectures.residual import Initialisation, Norm, NormFactory, initialise, norm_factory
from models.classifier import Classifier
from models.sizes.early_exits import ExitHead, MultiExit, Scaler, level_and_width
from models.sizes.submodels import keep_blocks

NUM_STAGES = 4
DEPTHS = {
    "resnet10": (1, 1, 1, 1),
    "resnet14": (1, 1, 2, 2),
    "resnet18": (2, 2, 2, 2),
    "resnet22": (2, 2, 3, 3),
    "resnet26": (3, 3, 3, 3),
}
"""Blocks per stage of the five sizes of the paper; ``1`` to ``5`` name them, too."""
LEVELS = {"a": 1.0, "b": 1 / 2, "c": 1 / 4, "d": 1 / 8, "e": 1 / 16}
"""HeteroFL's names of widths, relative to the server's."""
_ROUNDING = 1e-9  # 0.1 x 30 is 3


class Block(nn.Module):
    """Two 3x3 convolutions, each followed by scaler and normalisation, around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: NormFactory, scaler: Scaler) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.bn1 = norm(outputs)
        self.conv2 = _conv(outputs, outputs, 3)
        self.bn2 = norm(outputs)
        self.scaler = scaler
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


class Stage(nn.Sequential):
    """Blocks in sequence; the outputs of some of them are kept for the early exits behind them."""

    exits_after: Collection[int] = ()

    def forward(self, x: Tensor, taps: list[Tensor] | None = None) -> Tensor:
        """Return the output of the last block; the inputs of early exits are appended to `taps`."""
        for position, block in enumerate(self):
            x = block(x)
            if taps is not None and position in self.exits_after:
                taps.append(x)
        return x


class StageResNet(MultiExit):
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
    scaler : Scaler, optional
        Placed between every convolution and its normalisation.
    exits : sequence of int, optional
        Numbers of blocks, counted through all stages, behind which there is an early exit; ascending.
    ends_at_exit : bool, default False
        Whether the last exit replaces the head, as in a sub-model of less depth.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        norm: NormFactory,
        scaler: Scaler | None = None,
        exits: Sequence[int] = (),
        ends_at_exit: bool = False,
    ) -> None:
        super().__init__()
        scaler = scaler or Scaler(1.0)
        self.widths, self.blocks, self._norm = tuple(widths), tuple(blocks), norm
        self.exit_blocks, self._num_classes, self._ends_at_exit = tuple(exits), num_classes, ends_at_exit
        self.conv1 = _conv(channels, widths[0], 7, 2)
        self.bn1 = norm(widths[0])
        self.scaler = scaler
        inputs, before, heads = widths[0], 0, []
        for stage, (outputs, count) in enumerate(zip(widths, blocks, strict=True)):
            layer = Stage()
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                layer.append(Block(inputs, outputs, stride, norm, scaler))
                inputs = outputs
            layer.exits_after = [after - before - 1 for after in exits if before < after <= before + count]
            heads += [ExitHead(outputs, num_classes, norm, scaler) for _ in layer.exits_after]
            before += count
            self.add_module(f"layer{stage + 1}", layer)
        self.exits = nn.ModuleList(heads)
        if not ends_at_exit:
            self.classifier = nn.Linear(inputs, num_classes)

    @property
    def num_levels(self) -> int:
        """Number of exits, including the last head."""
        return len(self.exits) + (not self._ends_at_exit)

    def features(self, x: Tensor) -> Tensor:
        """Return the channels of the last stage, averaged over the image: the input of the last head."""
        taps, last = self._run(x)
        if not self._ends_at_exit:
            return last.mean(dim=(2, 3))
        features: Tensor = self.exits[-1].features(taps[-1])  # type: ignore[operator]
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the last head."""
        if not self._ends_at_exit:
            return super().forward(x)
        logits: Tensor = self.exits[-1].classifier(self.features(x))  # type: ignore[operator]
        return logits

    def outputs(self, x: Tensor) -> list[Tensor]:
        """Return the logits of every exit, and last those of the model's own head."""
        taps, last = self._run(x)
        outputs = [head(seen) for head, seen in zip(self.exits, taps, strict=True)]
        if self._ends_at_exit:
            return outputs
        return [*outputs, self.classifier(self.projected(last.mean(dim=(2, 3))))]

    def _run(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the inputs of the exits, and the output of the last block."""
        x = self.bn1(self.scaler(self.conv1(x)))
        x = F.relu(F.max_pool2d(x, 3, stride=2, padding=1))  # the numbers of ReLU before it, in less time
        taps: list[Tensor] = []
        for stage in range(NUM_STAGES):
            x = self.get_submodule(f"layer{stage + 1}")(x, taps)
        return taps, x

    def size_name(self, text: str) -> str:
        """Return the name of a size.

        That is ``resnet14`` (or ``2``), ``1-1-2-2``, a width ``w0.5`` (or ``b``), or ``d2w0.7``: the part up
        to a head, and its width. A model with early exits has only sizes of the last form.
        """
        if found := level_and_width(text, self.num_levels):
            level, rate = found
            return f"d{level}" if rate == 1 else f"d{level}w{rate:g}"
        if self.num_levels > 1:
            raise UserError(
                f"model.sizes: a model with early exits has sizes such as d1w0.7 to d{self.num_levels}, not"
                f" '{text}'"
            )
        if text.isdecimal() and 1 <= int(text) <= len(DEPTHS):
            text = list(DEPTHS)[int(text) - 1]
        if text in LEVELS:
            text = f"w{LEVELS[text]:g}"
        if text in DEPTHS or re.fullmatch(r"\d+(-\d+){3}", text):
            blocks = DEPTHS.get(text) or tuple(map(int, text.split("-")))
            if any(not 1 <= mine <= all_ for mine, all_ in zip(blocks, self.blocks, strict=True)):
                have = "-".join(map(str, self.blocks))
                raise UserError(f"model.sizes: '{text}' is not part of a model with {have} blocks per stage")
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
        if found := level_and_width(size, self.num_levels):
            return self._up_to_head(*found)
        if not size.startswith("w"):
            blocks = DEPTHS.get(size) or tuple(map(int, size.split("-")))
            smaller = keep_blocks(self, {f"layer{i + 1}": count for i, count in enumerate(blocks)})
            assert isinstance(smaller, StageResNet)
            smaller.blocks = blocks
            return smaller
        rate = float(size[1:])
        widths = [math.ceil(rate * width - _ROUNDING) for width in self.widths]
        return self._part(widths, self.blocks, Scaler(rate))

    def _up_to_head(self, level: int, rate: float) -> Classifier:
        """Return the part that ends with head `level`, counted from 1; widths are rounded as in ScaleFL."""
        widths = [max(1, math.floor(rate * width + _ROUNDING)) for width in self.widths]
        if level == self.num_levels:
            return self._part(widths, self.blocks, Scaler(rate, always=True), self.exit_blocks)
        exits = self.exit_blocks[:level]
        before = [sum(self.blocks[:stage]) for stage in range(NUM_STAGES)]
        blocks = [min(max(exits[-1] - b, 0), count) for b, count in zip(before, self.blocks, strict=True)]
        return self._part(widths, blocks, Scaler(rate, always=True), exits, ends_at_exit=True)

    def _part(
        self,
        widths: Sequence[int],
        blocks: Sequence[int],
        scaler: Scaler,
        exits: Sequence[int] = (),
        ends_at_exit: bool = False,
    ) -> Classifier:
        """Return a model with these channels and blocks, initialised with this model's leading entries."""
        if scaler.rate == 1 and not ends_at_exit:
            return copy.deepcopy(self)
        if self.projection is not None:
            raise UserError("model.sizes: a model with model.projection cannot be made narrower; set it to 0")
        with torch.random.fork_rng(devices=[]):
            part = StageResNet(
                self.conv1.in_channels,
                self._num_classes,
                widths=widths,
                blocks=blocks,
                norm=self._norm,
                scaler=scaler,
                exits=exits,
                ends_at_exit=ends_at_exit,
            )
        own = self.state_dict()
        part.load_state_dict(
            {name: own[name][tuple(map(slice, v.shape))] for name, v in part.state_dict().items()}
        )
        return part

    def width_dimensions(self) -> Mapping[str, tuple[int, ...]]:
        """Return the dimensions that run over channels, not over colours or classes."""
        own = {"conv1.weight": (0,), "classifier.weight": (1,), "classifier.bias": ()}
        own |= {f"exits.{i}.{name}": own[name] for i in range(len(self.exits)) for name in list(own)[1:]}
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
    exits: str = "",
    initialisation: Initialisation = "fan-out",
) -> nn.Module:
    """Build the network for images.

    Parameters
    ----------
    blocks : str, default "resnet26"
        Blocks per stage, ``3-3-3-3``, or one of the names in ``DEPTHS``.
    width : int, default 64
        Channels of the first stage; each later stage has twice as many as the one before.
    norm, groups
        ``batch``, ``group`` with this number of groups, or ``none``.
    exits : str, default ""
        Numbers of blocks behind which there is an early exit, such as ``6,8,10`` of twelve.
    initialisation
        As in ``models.architectures.residual.initialise``.
    """
    if blocks not in DEPTHS and not re.fullmatch(r"[1-9]\d*(-[1-9]\d*){3}", blocks):
        raise UserError(
            f"model.blocks of 'stage-resnet' is one of {', '.join(DEPTHS)}, or four numbers of blocks such as"
            f" 1-1-2-2, not '{blocks}'"
        )
    channels, _, _ = image_shape("stage-resnet", input_shape)
    counts = DEPTHS.get(blocks) or [int(count) for count in blocks.split("-")]
    network = StageResNet(
        channels,
        num_classes,
        widths=[width * 2**stage for stage in range(NUM_STAGES)],
        blocks=counts,
        norm=norm_factory("stage-resnet", norm, groups),
        exits=_exit_blocks(exits, sum(counts)),
    )
    initialise(network, initialisation)
    return network


def _exit_blocks(text: str, num_blocks: int) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    exits = [int(part) for part in parts if part.isdecimal()]
    ascending = exits == sorted(set(exits)) and all(0 < number < num_blocks for number in exits)
    if len(exits) < len(parts) or not ascending:
        raise UserError(
            "model.exits of 'stage-resnet' lists numbers of blocks in ascending order, below"
            f" {num_blocks}, behind which there is an early exit, such as 6,8,10, not '{text}'"
        )
    return exits


def _conv(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
