"""The layers that InCo changes and their references, found from a model's names and shapes alone."""

from collections.abc import Mapping

from common.errors import UserError
from models.measures.structure import Shape, convolution_stages, transformer_blocks


def inco_targets(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Return target → reference for every layer whose update InCo replaces.

    Convolutions: the reference is the last spatial convolution of a stage's first block, the targets are
    those of all further blocks with its shape. In a ResNet the reference is ``conv2`` of block 0, even in the
    first stage, whose ``conv1`` has the same shape. Stem, shortcuts, norms and heads are never targets.

    Transformers: in every block the scale of the second normalisation is the target and that of the first the
    reference.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        Every entry of the largest model, in the model's order.

    Returns
    -------
    dict[str, str]
        In the model's order; empty if no stage has a second block.

    Raises
    ------
    UserError
        If the model has neither stages of convolutional blocks nor transformer blocks.
    """
    stages, transformers = convolution_stages(shapes), transformer_blocks(shapes)
    if not stages and not transformers:
        raise UserError(
            "InCo needs a model with stages of residual blocks or with transformer blocks, such as 'resnet18'"
            " or 'vit-small': this one has neither"
        )
    found: dict[str, str] = {}
    for blocks in stages.values():
        first, *deeper = (blocks[number] for number in sorted(blocks))
        reference = first[-1]
        shape = tuple(shapes[reference])
        found |= {name: reference for block in deeper for name in block if tuple(shapes[name]) == shape}
    found |= {scales[1]: scales[0] for scales in transformers.values()}
    return {name: found[name] for name in shapes if name in found}
