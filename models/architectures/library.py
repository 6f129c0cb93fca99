"""Adapts a model library's classifiers to the interface of ours and to federated training.

A library's module ``from_<library>.py`` finds the ``build`` for one of its names; this module holds what
those builds share.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from common.errors import UserError
from models.architectures.residual import reset_layers
from models.classifier import Classifier

Norm = Literal["batch", "group", "none"]
LibraryInitialisation = Literal["library", "torch"]

# Image sides that an error message suggests when a model cannot take the images.
_SIDES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 299)


class LibraryClassifier(Classifier):
    """A library's model, whose last linear layer is the ``classifier`` and everything before it the ``body``.

    Parameters
    ----------
    model : nn.Module
        The library's model; its last layer is taken out of it.
    head : str
        Name of that layer, an ``nn.Linear``.

    Attributes
    ----------
    head_name : str
        `head`: the prefix of the classifier's entries in the library's own state dicts.
    remarks : tuple of str
        Notes for the user on the initial weights.
    """

    def __init__(self, model: nn.Module, head: str) -> None:
        super().__init__()
        classifier = model.get_submodule(head)
        assert isinstance(classifier, nn.Linear)
        _replace(model, head, nn.Identity())
        self.body = model
        self.classifier = classifier
        self.head_name = head
        self.remarks: tuple[str, ...] = ()

    def features(self, x: Tensor) -> Tensor:
        """Return the inputs of the last layer."""
        features: Tensor = self.body(x)
        return features


def replace_layers(model: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace each layer by ``replacement(layer)``, unless that is None."""
    for name, layer in list(model.named_modules()):
        new = replacement(layer)
        if name and new is not None:
            _replace(model, name, new)


def initialise_resnet(
    model: nn.Module, model_name: str, initialisation: LibraryInitialisation, resnet: type[nn.Module]
) -> None:
    """Draw the weights of a ResNet by the default of torch's layers, if requested.

    Raises
    ------
    UserError
        If the model is not a ResNet.
    """
    if initialisation == "library":
        return
    if not isinstance(model, resnet):
        raise UserError(
            f"model.initialisation = 'torch' is for ResNets, which '{model_name}' is not: leave it at"
            " 'library'"
        )
    reset_layers(model)


def use_norm(model: nn.Module, model_name: str, norm: Norm, groups: int) -> None:
    """Replace each BatchNorm by group normalisation or nothing; models without BatchNorm do not change.

    Raises
    ------
    UserError
        If `groups` does not divide the channels of a layer.
    """

    def replacement(layer: nn.Module) -> nn.Module | None:
        if not isinstance(layer, nn.BatchNorm2d):
            return None
        if norm == "group" and layer.num_features % groups:
            raise UserError(
                f"model.groups of '{model_name}' must divide {layer.num_features} channels, not {groups}"
            )
        new = nn.Identity() if norm == "none" else nn.GroupNorm(groups, layer.num_features, eps=1e-5)
        if not hasattr(layer, "act"):
            return new
        return nn.Sequential(
            new, layer.get_submodule("drop"), layer.get_submodule("act")
        )  # timm's BatchNorm with an activation in it

    if norm != "batch":
        replace_layers(model, replacement)


def take_channels(model: nn.Module, model_name: str, channels: int) -> None:
    """Adapt a model for colour images to `channels` channels: grey counts as three equal colours.

    The first convolution's weights are summed over its input channels, so that it computes the same function
    as the three-channel model; three-channel weights are read in the same way
    (``models/weights/local_weights.py``).

    Raises
    ------
    UserError
        If `channels` is neither 1 nor 3.
    """
    if channels == 3:
        return
    if channels != 1:
        raise UserError(f"model '{model_name}' takes images with 1 or 3 channels, not {channels}")
    name, old = next((key, layer) for key, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    new = nn.Conv2d(
        1,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        old.dilation,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    new.weight = nn.Parameter(old.weight.detach().sum(dim=1, keepdim=True))
    new.bias = old.bias
    _replace(model, name, new)


def check_input(model: LibraryClassifier, model_name: str, input_shape: tuple[int, int, int]) -> None:
    """Run one black image through the model.

    Raises
    ------
    UserError
        If the result is not logits, most often because the images are too small.
    """
    if _takes(model, input_shape):
        return
    channels, height, width = input_shape
    side = next((side for side in _SIDES if _takes(model, (channels, side, side))), None)
    advice = f"set dataset.image-size, for instance to {side}" if side else "use another model"
    raise UserError(f"model '{model_name}' cannot take images of {height}x{width} pixels: {advice}")


@torch.no_grad()
def _takes(model: LibraryClassifier, input_shape: tuple[int, int, int]) -> bool:
    was_training = model.training
    model.eval()
    try:
        logits: Tensor = model(torch.zeros(1, *input_shape))
    except (RuntimeError, ValueError, AssertionError):
        return False
    finally:
        model.train(was_training)
    return tuple(logits.shape) == (1, model.classifier.out_features)


def _replace(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)
