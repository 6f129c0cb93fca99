"""A hypernetwork, whose outputs are the parameters of another network, as functions of tensors."""

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from common.records import Tensors

Shapes = Mapping[str, torch.Size]


def initial_hypernetwork(
    shapes: Shapes, embedding_size: int, hidden_layers: int, hidden_size: int, generator: torch.Generator
) -> Tensors:
    """Return initial weights of a multilayer perceptron with one linear output layer per tensor.

    Every weight and bias is uniform in +- 1 / sqrt(inputs of its layer), PyTorch's default.
    """
    layers = {f"hidden-{index}": hidden_size for index in range(hidden_layers)}
    layers |= {f"to-{name}": shape.numel() for name, shape in shapes.items()}
    weights, inputs = {}, embedding_size
    for name, outputs in layers.items():
        for kind, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            draw = torch.rand(shape, generator=generator)
            weights[f"{name}/{kind}"] = (2 * draw - 1) / inputs**0.5
        if name.startswith("hidden-"):
            inputs = hidden_size
    return weights


def generated(weights: Tensors, embedding: torch.Tensor, shapes: Shapes) -> Tensors:
    """Return the tensors generated from an embedding, differentiable in the hypernetwork's weights."""
    hidden = embedding
    for index in range(sum(name.startswith("hidden-") for name in weights) // 2):
        hidden = F.relu(_layer(weights, f"hidden-{index}", hidden))
    return {name: _layer(weights, f"to-{name}", hidden).view(shape) for name, shape in shapes.items()}


def _layer(weights: Tensors, name: str, inputs: torch.Tensor) -> torch.Tensor:
    return F.linear(inputs, weights[f"{name}/weight"], weights[f"{name}/bias"])
