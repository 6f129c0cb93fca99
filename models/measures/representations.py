"""Outputs of a model's stages or blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.classifier import Classifier
from models.measures.structure import convolution_stages, transformer_blocks

FEATURES = "features"
_BATCH = 64


def layers_to_compare(model: nn.Module) -> list[str]:
    """Return the modules whose outputs are compared: a model's stages, or else its transformer blocks.

    A model with neither is compared by its features.
    """
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    return list(convolution_stages(shapes)) or list(transformer_blocks(shapes)) or [FEATURES]


@torch.no_grad()
def layer_outputs(model: Classifier, inputs: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Return the outputs of modules of a model, in evaluation mode.

    Parameters
    ----------
    model : Classifier
        The model; its mode is restored.
    inputs : Tensor
        Of shape (samples, ...), on the model's device.
    layers : sequence of str
        Names of modules, or ``features`` for the input of the head.

    Returns
    -------
    dict[str, Tensor]
        Layer → outputs (samples, values), on the CPU.
    """
    parts: dict[str, list[Tensor]] = {layer: [] for layer in layers}

    def keep(layer: str) -> object:
        def hook(module: nn.Module, arguments: object, output: Tensor) -> None:
            parts[layer].append(output.flatten(1).cpu())

        return hook

    handles = [
        model.get_submodule(layer).register_forward_hook(keep(layer))  # type: ignore[arg-type]
        for layer in layers
        if layer != FEATURES
    ]
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(inputs), _BATCH):
            features = model.features(inputs[start : start + _BATCH])
            if FEATURES in parts:
                parts[FEATURES].append(features.flatten(1).cpu())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return {layer: torch.cat(outputs) for layer, outputs in parts.items()}
