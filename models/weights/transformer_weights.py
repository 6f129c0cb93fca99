"""Initial weights of the project's vision transformers from a local file."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import UserError
from models.architectures.vision_transformer import VisionTransformer, names_of_depth
from models.weights.local_weights import read_state

_HEAD = ("classifier.weight", "classifier.bias")
_POSITIONS = "pos_embed"


def load_transformer_weights(model: VisionTransformer, path: str) -> None:
    """Copy a file's weights into a model.

    The file is a state dict of timm's, or the ``model.safetensors`` of a run. Blocks beyond the model's are
    left out. If the file's classifier is missing or has another number of classes, the model's keeps its
    random weights, with a remark. Positions for another number of patches are interpolated bicubically; a
    patch projection of three colours is summed over them for a model with one.

    Raises
    ------
    UserError
        If the file cannot be read or does not fit.
    """
    target = model.state_dict()
    state = {_ours(name): value for name, value in read_state(path).items()}
    depth = len(model.blocks)
    state = {name: state[name] for name in names_of_depth(state, depth)}
    if _POSITIONS in state:
        state[_POSITIONS] = _interpolated(state[_POSITIONS], model)
    projection = "patch_embed.proj.weight"
    if projection in state and (state[projection].shape[1], target[projection].shape[1]) == (3, 1):
        state[projection] = state[projection].sum(dim=1, keepdim=True)
    if any(name not in state or state[name].shape != target[name].shape for name in _HEAD):
        model.remarks = (
            f"model.weights: the classifier keeps its random weights: '{path}' has none for"
            f" {model.classifier.out_features} classes",
        )
        state = {name: value for name, value in state.items() if name not in _HEAD}
        target = {name: value for name, value in target.items() if name not in _HEAD}
    _check(state, target, path)
    model.load_state_dict(state, strict=False)


def _ours(name: str) -> str:
    return f"classifier.{name.removeprefix('head.')}" if name.startswith("head.") else name


def _interpolated(positions: Tensor, model: VisionTransformer) -> Tensor:
    """Interpolate positions to the model's grid of patches; those in a file are on a square grid."""
    patches, (rows, columns) = positions.shape[1] - 1, model.grid
    side = round(patches**0.5)
    if patches == rows * columns or side * side != patches:
        return positions
    token, grid = positions[:, :1], positions[:, 1:].view(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (rows, columns), mode="bicubic", antialias=True)
    return torch.cat([token, grid.flatten(2).transpose(1, 2)], dim=1)


def _check(state: Mapping[str, Tensor], target: Mapping[str, Tensor], path: str) -> None:
    for name in sorted(target.keys() | state.keys()):
        if name not in state:
            problem = f"it lacks '{name}'"
        elif name not in target:
            problem = f"the model has no '{name}'"
        elif state[name].shape != target[name].shape:
            problem = (
                f"'{name}' is {tuple(state[name].shape)} there and {tuple(target[name].shape)} in the model"
            )
        else:
            continue
        raise UserError(f"model.weights: '{path}' does not fit model 'vit-small': {problem}")
