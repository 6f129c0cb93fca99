"""Stages and blocks of a model, found from the names and shapes of its entries."""

from collections.abc import Mapping, Sequence

Shape = Sequence[int]


def convolution_stages(shapes: Mapping[str, Shape]) -> dict[str, dict[int, list[str]]]:
    """Return the stages of convolutional blocks.

    A stage is a run of numbered blocks, ``stages.1.0`` and ``stages.1.1`` or ``layer2.0``, with convolutions
    larger than 1x1 in them. Numbered modules that hold a linear layer, such as exits, are not stages.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        Every entry of a model, in its order.

    Returns
    -------
    dict[str, dict[int, list[str]]]
        Name of the stage's module → number of a block → its spatial convolutions, in the model's order.
    """
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
    return {stage: blocks for stage, blocks in stages.items() if stage not in with_linear}


def transformer_blocks(shapes: Mapping[str, Shape]) -> dict[str, list[str]]:
    """Return the transformer blocks.

    A block is a module that directly contains two or more normalisations of one width, and an attention with
    a fused projection to queries, keys and values of that width.

    Parameters
    ----------
    shapes : mapping of str to sequence of int
        Every entry of a model, in its order.

    Returns
    -------
    dict[str, list[str]]
        Name of the block's module → scales of its normalisations, in the model's order.
    """
    scales: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        block, _, layer = name.rpartition(".")[0].rpartition(".")
        if block and layer and name.endswith(".weight") and len(shape) == 1:
            scales.setdefault(block, []).append(name)
    blocks = {}
    for block, names in scales.items():
        width = shapes[names[0]][0]
        names = [name for name in names if shapes[name][0] == width]
        fused = (3 * width, width)
        inside = (tuple(shape) for name, shape in shapes.items() if name.startswith(f"{block}."))
        if len(names) >= 2 and fused in inside:
            blocks[block] = names
    return blocks


def _place_in_stage(name: str) -> tuple[str, int] | None:
    """Split ``stages.1.2.conv1.weight`` into ``stages.1`` and 2: at the last number before a named layer."""
    *path, kind = name.split(".")
    numbered = [index for index in range(1, len(path) - 1) if path[index].isdigit()]
    if kind != "weight" or not numbered:
        return None
    last = numbered[-1]
    return ".".join(path[:last]), int(path[last])
