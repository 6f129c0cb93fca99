"""Which layers InCo changes, and by which: found from a model's names and shapes alone."""

from collections.abc import Mapping, Sequence

from common.errors import UserError

Shape = Sequence[int]


def inco_targets(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Return target → reference for every layer whose update InCo replaces.

    Convolutions: a stage is a run of numbered blocks (``stages.1.0``, ``stages.1.1`` or ``layer2.0``). The
    reference is the last spatial convolution of the stage's first block, the targets are those of all further
    blocks with its shape. Of a ResNet that is ``conv2`` of block 0, in the first stage, too, whose ``conv1``
    has the same shape. Stem, shortcuts, norms and heads are never targets; nor are numbered modules that hold
    a linear layer, such as the exits of ScaleFL.

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
    stages, transformers = _stages(shapes), _transformer_blocks(shapes)
    if not stages and not transformers:
        raise UserError(
            "InCo needs a model with stages of residual blocks or with transformer blocks, such as 'resnet18'"
            " or 'vit-small': this one has neither"
        )
    found: dict[str, str] = {}
    for blocks in stages:
        first, *deeper = (blocks[number] for number in sorted(blocks))
        reference = first[-1]
        shape = tuple(shapes[reference])
        found |= {name: reference for block in deeper for name in block if tuple(shapes[name]) == shape}
    found |= {scales[1]: scales[0] for scales in transformers}
    return {name: found[name] for name in shapes if name in found}


def _stages(shapes: Mapping[str, Shape]) -> list[dict[int, list[str]]]:
    """Return each stage as block number → its spatial convolutions in the model's order."""
    stages: dict[str, dict[int, list[str]]] = {}
    with_linear: set[str] = set()
    for name, shape in shapes.items():
        if (place := _place_in_stage(name)) is None:
            continue
        stage, number = place
        if len(shape) == 2:
            with_linear.add(stage)
        elif len(shape) == 4 and max(shape[2:]) > 1:
            stages.setdefault(stage, {}).setdefault(number, []).append(name)
    return [blocks for stage, blocks in stages.items() if stage not in with_linear]


def _place_in_stage(name: str) -> tuple[str, int] | None:
    """Split ``stages.1.2.conv1.weight`` into ``stages.1`` and 2: at the last number before a named layer."""
    *path, kind = name.split(".")
    numbered = [index for index in range(1, len(path) - 1) if path[index].isdigit()]
    if kind != "weight" or not numbered:
        return None
    last = numbered[-1]
    return ".".join(path[:last]), int(path[last])


def _transformer_blocks(shapes: Mapping[str, Shape]) -> list[list[str]]:
    """Return the scales of each block's normalisations, at least two, in order.

    A block is a module with normalisations of one width directly in it, and an attention with fused
    projections of queries, keys and values of that width.
    """
    scales: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        block, _, rest = name.rpartition(".")[0].rpartition(".")
        if block and rest and name.endswith(".weight") and len(shape) == 1:
            scales.setdefault(block, []).append(name)
    blocks = []
    for block, names in scales.items():
        width = shapes[names[0]][0]
        names = [name for name in names if shapes[name][0] == width]
        fused = (3 * width, width)
        if len(names) >= 2 and any(
            name.startswith(f"{block}.") and tuple(shape) == fused for name, shape in shapes.items()
        ):
            blocks.append(names)
    return blocks
