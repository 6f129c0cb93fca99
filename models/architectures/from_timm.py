"""``model.name = "timm:<name>"``: the image models of timm, an optional extra, with random weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from common.errors import UserError, nearest
from common.sections import Positive
from models.architectures.images import image_shape
from models.architectures.layers import Dropout, StochasticDepth, set_dropout_generator
from models.architectures.library import (
    LibraryClassifier,
    LibraryInitialisation,
    Norm,
    check_input,
    initialise_resnet,
    replace_layers,
    use_norm,
)
from models.weights.local_weights import load_weights

PREFIX = "timm:"


def find_build(name: str) -> Callable[..., nn.Module]:
    """Return the ``build`` of a model.

    Parameters
    ----------
    name : str
        timm's name of an architecture, without the prefix.

    Raises
    ------
    UserError
        If timm is not installed or has no such model; it names the nearest one.
    """
    timm = _import_timm(name)
    names = timm.list_models()
    if name not in names:
        raise UserError(
            f"model.name: timm has no model '{name}'{nearest(name, names)}"
            f" (timm.list_models('*part*') lists some of its {len(names)})"
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
        model = _make(timm, name, channels, height, width, num_classes)
        head = _linear_head(model, full_name)
        use_norm(model, full_name, norm, groups)
        initialise_resnet(model, full_name, initialisation, timm.models.ResNet)
        replace_layers(model, _keyed)
        classifier = LibraryClassifier(model, head)
        check_input(classifier, full_name, (channels, height, width))
        _check_randomness(classifier, full_name, (channels, height, width))
        if weights:
            load_weights(classifier, full_name, weights)
        return classifier

    return build


def _import_timm(name: str) -> Any:
    try:
        import timm
    except ImportError:
        raise UserError(
            f"model.name '{PREFIX}{name}' needs timm, which is not installed: pip install '.[timm]'"
        ) from None
    return timm


def _make(timm: Any, name: str, channels: int, height: int, width: int, num_classes: int) -> nn.Module:
    options: dict[str, Any] = {}
    pretrained_cfg = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if pretrained_cfg is not None and pretrained_cfg.fixed_input_size:
        options["img_size"] = (height, width)
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=num_classes, in_chans=channels, **options
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        side = pretrained_cfg.input_size[-1] if pretrained_cfg else 224
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"model '{PREFIX}{name}' cannot be built for {channels} channels and {height}x{width} pixels"
            f" ({reason}): set dataset.image-size = {side}, or use another model"
        ) from None
    return model


def _linear_head(model: nn.Module, full_name: str) -> str:
    head = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]
    name: str | None = next((key for key, layer in model.named_modules() if layer is head), None)
    if not isinstance(head, nn.Linear) or name is None:
        raise UserError(f"model '{full_name}' does not end in one linear layer: use another model")
    return name


def _keyed(layer: nn.Module) -> nn.Module | None:
    """Return the replacement of a layer that draws its mask from a keyed generator."""
    from timm.layers.drop import DropPath

    if isinstance(layer, nn.Dropout):
        return Dropout(layer.p)
    if isinstance(layer, DropPath):
        return StochasticDepth(layer.drop_prob or 0.0)
    return None


@torch.no_grad()
def _check_randomness(model: LibraryClassifier, full_name: str, input_shape: tuple[int, int, int]) -> None:
    """Refuse a model that draws from the global generator while it trains.

    Raises
    ------
    UserError
        If it does: its results would depend on earlier draws.
    """
    before = torch.get_rng_state()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    set_dropout_generator(model, torch.Generator().manual_seed(0))
    model.train()(torch.zeros(4, *input_shape))
    set_dropout_generator(model, None)
    for name, value in model.named_buffers():
        value.copy_(buffers[name])
    if not torch.equal(torch.get_rng_state(), before):
        raise UserError(
            f"model '{full_name}' draws from torch's global generator in training: use another model"
        )
