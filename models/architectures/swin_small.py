"""A small Swin transformer (Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030, section 3).

The blocks are torchvision's: window attention with relative positions, where every second block shifts the
windows by half their side; between stages the sides halve and the channels double.
"""

from typing import Annotated

from pydantic import Field
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

from common.errors import UserError
from common.sections import Positive
from models.architectures.images import image_shape
from models.architectures.library import LibraryClassifier, take_channels


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    width: Positive = 32,
    depth: Annotated[int, Field(ge=2)] = 4,
    stages: Positive = 2,
    heads: Positive = 2,
    patch_size: Positive = 2,
    window: Positive = 4,
) -> nn.Module:
    """Build the network; the defaults have 261,634 parameters on CIFAR-10, about those of a ResNet-20.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width.
    num_classes : int
        Number of classes.
    width : int, default 32
        Channels of the first stage.
    depth : int, default 4
        Blocks in each stage; every second one shifts the windows.
    stages : int, default 2
        Number of stages.
    heads : int, default 2
        Heads of the first stage, which divide its channels; they double with the channels.
    patch_size : int, default 2
        Side of the patches of the first layer: 2 for CIFAR, 4 in the paper, whose images have 224 pixels.
    window : int, default 4
        Side of a window in patches: 4 for CIFAR, 7 in the paper.

    Raises
    ------
    UserError
        If `heads` does not divide `width`.
    """
    channels, *_ = image_shape("swin-small", input_shape, smallest=patch_size * 2 ** (stages - 1))
    if width % heads:
        raise UserError(f"model.heads of 'swin-small' must divide model.width = {width}, not {heads}")
    model = SwinTransformer(
        patch_size=[patch_size, patch_size],
        embed_dim=width,
        depths=[depth] * stages,
        num_heads=[heads * 2**stage for stage in range(stages)],
        window_size=[window, window],
        stochastic_depth_prob=0.0,
        num_classes=num_classes,
    )
    take_channels(model, "swin-small", channels)
    return LibraryClassifier(model, "head")
