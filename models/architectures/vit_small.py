"""ViT-S/16 with 12 blocks, width 384 and 6 heads (Steiner et al., "How to train your ViT?", TMLR 2022).

It is timm's ``vit_small_patch16_224`` and can load its weights. Without them it learns slowly: the accuracies
that Chan et al. (ICLR 2024, table 2) report with it start from ImageNet-21k.
"""

from torch import nn

from common.errors import UserError
from common.sections import Positive
from models.architectures.images import image_shape
from models.architectures.layers import DropoutProbability
from models.architectures.vision_transformer import VisionTransformer
from models.weights.transformer_weights import load_transformer_weights


def build(
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    depth: Positive = 12,
    width: Positive = 384,
    heads: Positive = 6,
    patch_size: Positive = 16,
    dropout: DropoutProbability = 0.0,
    weights: str = "",
) -> nn.Module:
    """Build the network for images whose sides the patch size divides.

    Parameters
    ----------
    input_shape : tuple of int
        Channels, height and width.
    num_classes : int
        Number of classes.
    depth, width, heads : int, default 12, 384, 6
        Number of blocks, size of a token, and heads, which divide it.
    patch_size : int, default 16
        Side of a patch in pixels.
    dropout : float, default 0
        Dropout probability.
    weights : str, default ""
        Local file of initial weights.
    """
    channels, height, columns = image_shape("vit-small", input_shape)
    if height % patch_size or columns % patch_size:
        side = -(-max(height, columns) // patch_size) * patch_size
        raise UserError(
            f"model 'vit-small' takes images whose sides model.patch-size = {patch_size} divides, not"
            f" {height}x{columns}: set dataset.image-size = {side}, or model.patch-size"
        )
    if width % heads:
        raise UserError(f"model.heads of 'vit-small' must divide model.width = {width}, not {heads}")
    model = VisionTransformer(
        (channels, height, columns),
        num_classes,
        patch_size=patch_size,
        width=width,
        depth=depth,
        heads=heads,
        dropout=dropout,
    )
    if weights:
        load_transformer_weights(model, weights)
    return model
