"""Architectures, found by file name: model ``hsu-cnn`` is ``build`` in ``models/architectures/hsu_cnn.py``.

A model file defines ``build(input_shape, num_classes, *, <annotated parameters with defaults>)``; modules
without ``build`` hold code that several models share. ``<library>:<name>`` is a model of a library;
``models/architectures/from_<library>.py`` finds its ``build``.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn

import models.architectures
from common.errors import UnknownNameError, UserError, described, shown
from common.global_generators import seeded_globally
from common.memory import physical_bytes, within_memory
from common.package_modules import available_plugins
from common.parameters import Declared, function_parameters, once_per_owner, parse_parameters
from common.plugin_kinds import MODEL
from common.plugins import find_function, names, unknown
from common.randomness import torch_seed
from common.sections import NonNegative, Value
from models.classifier import FeatureKind, add_projection, as_classifier, normalize_features
from models.outside import check_registered
from models.weights.run_weights import load_run_weights

__all__ = ["available_models", "build_model", "model_parameters"]

LIBRARIES = ("timm", "torchvision")
_PACKAGE = models.architectures


def build_model(
    name: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    parameters: Mapping[str, Value] | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a model on the CPU, with initial weights that depend only on the arguments.

    Parameters
    ----------
    name : str
        Name of the model, one of :func:`available_models` or ``torchvision:<name>`` or ``timm:<name>``.
    input_shape : tuple of int
        Shape of one example, for images (channels, height, width).
    num_classes : int
        Number of classes.
    parameters : mapping of str to value, optional
        Keyword parameters of the model in the spelling of the configuration, such as ``{"hidden": 128}``.
    seed : int, default 0
        Seed of the run; the state of the global generators is restored.

    Returns
    -------
    torch.nn.Module
        The model in training mode.

    Raises
    ------
    UserError
        If the model or a parameter is unknown, or if the model cannot take this input.
    """
    build = _find_build(name)
    keywords = parse_parameters("model", name, _parameters(build), parameters or {})
    projection, features = keywords.pop("projection"), keywords.pop("features")
    outputs = keywords.pop("outputs")
    if 0 < outputs < num_classes:
        raise UserError(
            f"model.outputs = {outputs} is below the data's {num_classes} classes: raise it, or 0"
        )
    num_outputs = max(num_classes, outputs)
    of_its_own = "weights" in function_parameters(build)
    weights = "" if of_its_own else keywords.pop("weights")
    asks = f"model.name '{name}' with these model.* keys and inputs of shape {tuple(input_shape)}"
    with within_memory(asks):
        if _is_large(input_shape, keywords.values()):
            _check_size(asks, lambda: build(input_shape, num_outputs, **keywords))
    with _saying_what_failed(asks), within_memory(asks), seeded_globally(torch_seed(seed, "init")):
        model = build(input_shape, num_outputs, **keywords)
        if not isinstance(model, nn.Module):
            raise UserError(f"model.name '{name}' must build a torch.nn.Module, not {shown(model)}")
        check_registered(model, name)
        if features != "plain":
            normalize_features(as_classifier(model), features, projection)
        elif projection:
            add_projection(as_classifier(model), projection)
    if weights:
        load_run_weights(model, name, weights)
    return model


def available_models() -> list[str]:
    """Return the sorted names of the project's and the plug-ins' models."""
    helpers = {name for name in available_plugins(_PACKAGE) if not hasattr(_module(name), MODEL.function)}
    return [name for name in names(MODEL) if name not in helpers]


def model_parameters(name: str) -> Declared:
    """Return the parameters of model ``name``, including those that every model has.

    Raises
    ------
    UserError
        If there is no such model.
    """
    return _parameters(_find_build(name))


@once_per_owner
def _parameters(build: Callable[..., nn.Module]) -> Declared:
    """Return the parameters of a model, including those that every model has.

    These are the size of a projection (0: none), a number of logits above that of the classes, the kind of
    features, and initial weights from a file.
    """
    of_its_own = function_parameters(build)
    common = {
        "projection": (NonNegative, 0),
        "outputs": (NonNegative, 0),
        "features": (FeatureKind, "plain"),
        "weights": of_its_own.get("weights", (str, "")),
    }
    return Declared({**of_its_own, **common})


@contextmanager
def _saying_what_failed(asks: str) -> Iterator[None]:
    """Turn any exception of an architecture's ``build``, which may be a user's, into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{asks} cannot be built: {described(error)}") from error


def _is_large(input_shape: Sequence[int], values: Iterable[Any]) -> bool:
    """Return whether a model might not fit into memory, judged by the largest of its dimensions."""
    return max([*input_shape, *(value for value in values if type(value) is int)]) > 512


def _check_size(asks: str, build: Callable[[], nn.Module]) -> None:
    """Refuse a model that is larger than memory before its weights are drawn, where torch allows it.

    On torch's meta device a model of any size is built at once; one that cannot be built there is not
    checked.
    """
    try:
        with torch.device("meta"):
            model = build()
            size = sum(value.nbytes for value in model.state_dict().values())
    except Exception:  # a build may compute with the values of its weights
        return
    if size > physical_bytes():
        raise UserError(f"{asks} has {size / 1e9:.0f} GB of weights, more than this machine's memory")


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{_PACKAGE.__name__}.{name.replace('-', '_')}")


def _find_build(name: str) -> Callable[..., nn.Module]:
    library, separator, inner = name.partition(":")
    if separator and library in LIBRARIES:
        # Imported here: a library is slow to import, and most runs use one of the project's models.
        found: Callable[..., nn.Module] = _module(f"from_{library}").find_build(inner)
        return found
    try:
        return find_function(MODEL, name)
    except UnknownNameError:
        if name in _module("from_torchvision").available():
            raise UserError(
                f"model.name: there is no '{name}' here; did you mean 'torchvision:{name}'?"
            ) from None
        known = [*available_models(), *(f"{key}:<name>" for key in LIBRARIES)]
        raise unknown(MODEL, name, known) from None
