"""Residual networks for small images.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: the basic block (section 3.3), the thin
networks for CIFAR with shortcuts A or B (section 4.2), and ResNet-18/34 (table 1) with the stem of the thin
ones, a 3x3 convolution of stride 1 without pooling, as is usual for 32x32 pixels. Group normalisation with
two groups is that of Reddi et al., "Adaptive Federated Optimization", ICLR 2021; the batch statistics of
clients differ too much for batch normalisation to work well.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from common.sections import Positive
from models.architectures.images import image_shape
from models.architectures.layers import ChannelNorm
from models.classifier import Classifier

Norm = Literal["batch", "group", "layer", "none"]
Shortcut = Literal["A", "A-centred", "B"]
Activation = Literal["relu", "silu"]
Initialisation = Literal["fan-out", "fan-in", "torch"]
Nonlinearity = Callable[[Tensor], Tensor]
NormFactory = Callable[[int], nn.Module]
Build = Callable[..., nn.Module]
ACTIVATIONS: dict[str, Nonlinearity] = {"relu": F.relu, "silu": F.silu}


class ZeroPadShortcut(nn.Module):
    """Shortcut A: subsample by the stride and append channels of zeros; it has no parameters.

    If `centred`, half of the zero channels come before the others, as in the code of Gu et al.,
    "Why (and When) does Local SGD Generalize Better than SGD?", ICLR 2023.
    """

    def __init__(self, extra_channels: int, stride: int, centred: bool = False) -> None:
        super().__init__()
        self.extra_channels = extra_channels
        self.stride = stride
        self.centred = centred

    def forward(self, x: Tensor) -> Tensor:
        """Return the subsampled input with ``extra_channels`` more channels."""
        before = self.extra_channels // 2 if self.centred else 0
        padding = (0, 0, 0, 0, before, self.extra_channels - before)
        return F.pad(x[:, :, :: self.stride, :: self.stride], padding)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each followed by a normalisation, around a shortcut."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        norm: NormFactory,
        shortcut: Shortcut,
        activation: Nonlinearity = F.relu,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.norm1 = norm(outputs)
        self.conv2 = _conv(outputs, outputs, 3)
        self.norm2 = norm(outputs)
        self.shortcut: nn.Module
        if stride == 1 and inputs == outputs:
            self.shortcut = nn.Identity()
        elif shortcut in ("A", "A-centred"):
            self.shortcut = ZeroPadShortcut(outputs - inputs, stride, centred=shortcut == "A-centred")
        else:
            self.shortcut = nn.Sequential(_conv(inputs, outputs, 1, stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the block after the activation."""
        residual = self.activation(self.norm1(self.conv1(x)))
        residual = self.norm2(self.conv2(residual))
        return self.activation(residual + self.shortcut(x))


class ResidualNetwork(Classifier):
    """Stages of basic blocks; every stage but the first halves the image.

    Parameters
    ----------
    channels : int
        Channels of the input.
    num_classes : int
        Number of classes.
    widths : sequence of int
        Channels of each stage.
    blocks : sequence of int
        Number of blocks of each stage.
    norm : callable
        Makes the normalisation layer for a number of channels.
    shortcut : {"A", "A-centred", "B"}
        Shortcut where the shape changes: zero padding or a 1x1 convolution.
    activation : callable
        Elementwise nonlinearity.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        norm: NormFactory,
        shortcut: Shortcut,
        activation: Nonlinearity = F.relu,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.conv1 = _conv(channels, widths[0], 3)
        self.norm1 = norm(widths[0])
        self.stages = nn.Sequential()
        inputs = widths[0]
        for index, (outputs, count) in enumerate(zip(widths, blocks, strict=True)):
            stage = nn.Sequential()
            for position in range(count):
                stride = 2 if index > 0 and position == 0 else 1
                stage.append(BasicBlock(inputs, outputs, stride, norm, shortcut, activation))
                inputs = outputs
            self.stages.append(stage)
        self.classifier = nn.Linear(inputs, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the channels of the last stage, averaged over the image."""
        x = self.activation(self.norm1(self.conv1(x)))
        x = self.stages(x)
        return x.mean(dim=(2, 3))


def four_stage_build(model: str, blocks: Sequence[int]) -> Build:
    """Return the ``build`` of a network with stages of 64, 128, 256 and 512 channels (table 1).

    Parameters
    ----------
    model : str
        Name of the model, for messages.
    blocks : sequence of int
        Number of blocks of each stage.
    """

    def build(
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        norm: Norm = "batch",
        groups: Positive = 2,
        width: Positive = 64,
        initialisation: Initialisation = "fan-out",
    ) -> nn.Module:
        """Build the network for images; ``width`` is the number of channels of the first stage."""
        widths = (width, 2 * width, 4 * width, 8 * width)
        network = _build(model, input_shape, num_classes, widths, blocks, norm, groups, "B")
        initialise(network, initialisation)
        return network

    return build


def thin_build(model: str, depth: int) -> Build:
    """Return the ``build`` of a network with stages of 16, 32 and 64 channels (section 4.2).

    Parameters
    ----------
    model : str
        Name of the model, for messages.
    depth : int
        Number of layers with weights, 6n + 2.
    """

    def build(
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        norm: Norm = "batch",
        groups: Positive = 2,
        shortcut: Shortcut = "A",
        activation: Activation = "relu",
        initialisation: Initialisation = "fan-out",
    ) -> nn.Module:
        """Build the network for images; ``shortcut`` "A" pads with zeros, as the paper, "B" is a 1x1 conv.

        Those of Gu et al. (ICLR 2023) have the shortcut "A-centred" and the initialisation "fan-in"; with
        group normalisation also 8 groups and the activation "silu".
        """
        blocks = [(depth - 2) // 6] * 3
        widths = (16, 32, 64)
        network = _build(
            model, input_shape, num_classes, widths, blocks, norm, groups, shortcut, ACTIVATIONS[activation]
        )
        initialise(network, initialisation)
        return network

    return build


def _build(
    model: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    norm: Norm,
    groups: int,
    shortcut: Shortcut,
    activation: Nonlinearity = F.relu,
) -> ResidualNetwork:
    channels, _, _ = image_shape(model, input_shape, smallest=2 ** (len(widths) - 1))
    return ResidualNetwork(
        channels,
        num_classes,
        widths=widths,
        blocks=blocks,
        norm=norm_factory(model, norm, groups),
        shortcut=shortcut,
        activation=activation,
    )


def norm_factory(model: str, norm: Norm, groups: int) -> NormFactory:
    """Return a function from a number of channels to a normalisation layer; `model` is for messages.

    "layer" normalises the channels of every pixel, as in ConvNeXt; "group" with one group normalises over
    channels and pixels together.
    """

    def group_norm(channels: int) -> nn.Module:
        if channels % groups:
            raise UserError(f"model.groups of '{model}' must divide {channels} channels, not {groups}")
        return nn.GroupNorm(groups, channels, eps=1e-5)

    factories: dict[Norm, NormFactory] = {
        "batch": nn.BatchNorm2d,
        "group": group_norm,
        "layer": ChannelNorm,
        "none": lambda channels: nn.Identity(),
    }
    return factories[norm]


def initialise(network: nn.Module, initialisation: Initialisation) -> None:
    """Draw the weights of a network with a ``classifier``, whose convolutions are built as "fan-out".

    "fan-out" is N(0, 2 / fan-out) (He et al. 2015). "fan-in" draws convolutions from N(0, 2 / fan-in) and the
    head from N(0, 0.01^2) (Gu et al. 2023, code). "torch" is the default of torch's layers, for convolutions
    U(-1 / sqrt(fan-in), 1 / sqrt(fan-in)): weights are smaller, and before a normalisation layer, where
    their norm has no other effect, the same learning rate rotates them five to six times as fast.
    """
    if initialisation == "torch":
        reset_layers(network)
    elif initialisation == "fan-in":
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        head = network.get_submodule("classifier")
        nn.init.normal_(head.get_parameter("weight"), std=0.01)
        nn.init.zeros_(head.get_parameter("bias"))


def reset_layers(network: nn.Module) -> None:
    """Draw the weights of all layers by torch's defaults."""
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()


def _conv(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


BUILDS: dict[str, Build] = {
    "resnet18": four_stage_build("resnet18", blocks=(2, 2, 2, 2)),
    "resnet34": four_stage_build("resnet34", blocks=(3, 4, 6, 3)),
    **{f"resnet{depth}": thin_build(f"resnet{depth}", depth) for depth in (20, 32, 44, 56, 110, 1202)},
}
