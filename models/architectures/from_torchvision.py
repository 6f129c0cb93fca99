"""``model.name = "torchvision:<name>"``: every classifier of torchvision, with its own random weights.

The architectures are as published, made for 224x224 pixels: a ``torchvision:resnet18`` has the stem of
ImageNet, ours that of CIFAR. Differences: no auxiliary classifiers (GoogLeNet, Inception), a linear head of
SqueezeNet (no ReLU between its last convolution and the pooling), and dropout from keyed generators.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torchvision import models as zoo
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings
from torchvision.ops import StochasticDepth as TorchvisionStochasticDepth

from common.errors import UserError, nearest
from common.sections import Positive
from models.architectures.images import image_shape
from models.architectures.layers import Dropout, StochasticDepth
from models.architectures.library import (
    LibraryClassifier,
    LibraryInitialisation,
    Norm,
    check_input,
    initialise_resnet,
    replace_layers,
    take_channels,
    use_norm,
)
from models.weights.local_weights import State, load_weights

PREFIX = "torchvision:"

_AUXILIARY = re.compile(r"(AuxLogits|aux1|aux2)\.")
# torchvision's published DenseNet weights use the names of its first version: norm.1 for norm1.
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")


def available() -> list[str]:
    """Return torchvision's names of its classifiers."""
    return list(zoo.list_models(module=zoo))


def find_build(name: str) -> Callable[..., nn.Module]:
    """Return the ``build`` of a classifier.

    Parameters
    ----------
    name : str
        torchvision's name, without the prefix.

    Raises
    ------
    UserError
        If there is none; it names the nearest one.
    """
    if name not in available():
        raise UserError(
            f"model.name: torchvision has no classifier '{name}'{nearest(name, available())}"
            f" (torchvision.models.list_models() lists all {len(available())})"
        )

    def build(
        input_shape: tuple[int, ...],
        num_classes: int,
        *,
        norm: Norm = "batch",
        groups: Positive = 2,
        initialisation: LibraryInitialisation = "library",
        weights: str = "",
    ) -> nn.Module:
        """Build the model; `weights` is a local file, `groups` belongs to ``norm = "group"``."""
        full_name = PREFIX + name
        channels, height, width = image_shape(full_name, input_shape)
        model = _make(name, full_name, height, width, num_classes)
        take_channels(model, full_name, channels)
        use_norm(model, full_name, norm, groups)
        initialise_resnet(model, full_name, initialisation, zoo.ResNet)
        replace_layers(model, _keyed)
        classifier = LibraryClassifier(model, _linear_head(model))
        check_input(classifier, full_name, (channels, height, width))
        if weights:
            load_weights(classifier, full_name, weights, lambda state: _convert(state, model))
        return classifier

    return build


def _make(name: str, full_name: str, height: int, width: int, num_classes: int) -> nn.Module:
    options: dict[str, Any] = {}
    if name.startswith("vit"):
        with torch.device("meta"):
            patch = zoo.get_model(name, weights=None).patch_size
        if height != width or height % patch:
            side = -(-max(height, width) // patch) * patch
            raise UserError(
                f"model '{full_name}' takes square images with sides that {patch} divides, not"
                f" {height}x{width}: set dataset.image-size = {side}"
            )
        options["image_size"] = height
    elif name.startswith("maxvit"):
        if height != width or height % 224:
            raise UserError(
                f"model '{full_name}' takes square images with sides that 224 divides, not {height}x{width}:"
                " set dataset.image-size = 224"
            )
        options["input_size"] = (height, width)
    elif name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    model: nn.Module = zoo.get_model(name, weights=None, num_classes=num_classes, **options)
    if isinstance(model, zoo.SqueezeNet):
        _make_head_linear(model)
    return model


def _make_head_linear(model: nn.Module) -> None:
    """Turn SqueezeNet's dropout, 1x1 convolution, ReLU, pooling into dropout, pooling, linear layer."""
    assert isinstance(model.classifier, nn.Sequential)
    dropout, convolution, _, pooling = model.classifier
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    linear = nn.Linear(convolution.in_channels, convolution.out_channels)
    linear.weight = nn.Parameter(convolution.weight.detach().flatten(1))
    linear.bias = nn.Parameter(convolution.bias.detach())
    # The linear layer keeps the convolution's place in the names.
    model.classifier = nn.Sequential(
        OrderedDict({"0": dropout, "pooling": nn.Sequential(pooling, nn.Flatten()), "1": linear})
    )


def _linear_head(model: nn.Module) -> str:
    names: list[str] = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    return names[-1]


def _keyed(layer: nn.Module) -> nn.Module | None:
    """Return the replacement of a layer that draws its mask from a keyed generator."""
    if isinstance(layer, nn.Dropout):
        return Dropout(layer.p)
    if isinstance(layer, TorchvisionStochasticDepth):
        return StochasticDepth(layer.p)
    return None


def _convert(state: State, model: nn.Module) -> State:
    """Convert a published state dict to the names and shapes of `model`."""
    converted = {
        _OLD_DENSENET.sub(r"\1\2", key): value
        for key, value in state.items()
        if not (isinstance(model, zoo.GoogLeNet | zoo.Inception3) and _AUXILIARY.match(key))
    }
    if isinstance(model, VisionTransformer) and "encoder.pos_embedding" in converted:
        # It cannot do so for every shape; what does not fit is reported by name.
        try:
            interpolated: State = interpolate_embeddings(
                model.image_size, model.patch_size, OrderedDict(converted)
            )
        except ValueError:
            return converted
        return interpolated
    return converted
