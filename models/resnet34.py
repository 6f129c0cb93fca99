"""ResNet-34 (He et al., CVPR 2016, table 1) with a stem for small images."""

from torch import nn

from common.config import Positive
from models.residual import Norm, build_residual_network


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    norm: Norm = "batch",
    groups: Positive = 2,
    width: Positive = 64,
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
    width : int, default 64
        Channels of the first stage; each further stage has twice as many.
    """
    return build_residual_network(
        "resnet34",
        input_shape,
        num_classes,
        widths=(width, 2 * width, 4 * width, 8 * width),
        blocks=(3, 4, 6, 3),
        norm=norm,
        groups=groups,
        shortcut="B",
    )
