"""ResNet-20 for CIFAR, with 16, 32 and 64 channels (He et al., CVPR 2016, section 4.2)."""

from torch import nn

from common.config import Positive
from models.residual import Norm, Shortcut, build_residual_network


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    norm: Norm = "batch",
    groups: Positive = 2,
    shortcut: Shortcut = "A",
) -> nn.Module:
    """Build the network for images.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width.
    num_classes : int
        Number of classes.
    norm : {"batch", "group"}, default "batch"
        Kind of normalisation.
    groups : int, default 2
        Number of groups of group normalisation.
    shortcut : {"A", "B"}, default "A"
        Shortcut where the shape changes: zero padding, as in the paper, or a 1x1 convolution.
    """
    return build_residual_network(
        "resnet20",
        input_shape,
        num_classes,
        widths=(16, 32, 64),
        blocks=(3, 3, 3),
        norm=norm,
        groups=groups,
        shortcut=shortcut,
    )
