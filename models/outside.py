"""Modules from outside the project: their random generators, and whether they can be seeded."""

import random
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from common.errors import UserError, described, shown
from common.global_generators import GENERATORS, Generator, seeded_globally
from models.architectures.layers import Dropout

_LIBRARIES = ("torch", "torchvision", "timm")

_found: weakref.WeakKeyDictionary[nn.Module, list[Generator]] = weakref.WeakKeyDictionary()


def own_generators(model: nn.Module) -> list[Generator]:
    """Return the random generators that the modules of `model`, their classes or files hold, each once.

    The result is cached. The generators of the project's ``Dropout`` are left out: training sets them.
    """
    if model not in _found:
        own = {
            id(value): value
            for value in _values(model)
            # A generator of system randomness cannot be seeded; `check_keyed` notices it.
            if isinstance(value, GENERATORS) and not isinstance(value, random.SystemRandom)
        }
        _found[model] = list(own.values())
    return _found[model]


def has_outside_modules(model: nn.Module) -> bool:
    """Return whether `model` has modules that are neither the project's nor torch's layers."""
    return any(
        type(module).__module__.partition(".")[0] not in ("models", "torch") for module in model.modules()
    )


def check_keyed(model: nn.Module, name: str, inputs: Tensor) -> None:
    """Check that a model computes the same twice from the same seed, in training mode.

    A model of the project's and torch's layers only does, and is not tried.

    Parameters
    ----------
    model : nn.Module
        Its buffers and its mode are restored.
    name : str
        ``model.name``, for the message.
    inputs : Tensor
        A few samples as the model takes them.

    Raises
    ------
    UserError
        If it does not: it draws from a source that cannot be seeded, or depends on its earlier calls.
    """
    if not has_outside_modules(model):
        return
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    kept = buffers.keys() & model.state_dict().keys()  # other buffers are not sent: their values are lost
    was_training = model.training
    own = own_generators(model)
    outputs = []
    try:
        model.train()
        for _ in range(2):
            with torch.no_grad(), seeded_globally(0, inputs.device, own):
                outputs.append(model(inputs))
                for key, value in model.named_buffers():
                    if key in kept:
                        value.copy_(buffers[key])
    finally:
        for key, value in model.named_buffers():
            if key in buffers:
                value.copy_(buffers[key])
        model.train(was_training)
    if not torch.equal(*(torch.nan_to_num(output) for output in outputs)):
        raise UserError(
            f"model '{name}' computes different outputs from the same weights, inputs and seed: draw"
            " its random numbers from torch's, NumPy's or Python's global generator, and keep what it"
            " remembers in persistent buffers"
        )


def check_outputs(model: nn.Module, name: str, inputs: Tensor, num_classes: int) -> Tensor:
    """Check that a model takes the data and has a logit for each class; return what it returns.

    Parameters
    ----------
    model : nn.Module
        Its mode is restored.
    name : str
        ``model.name``, for the message.
    inputs : Tensor
        A few samples as the model takes them.
    num_classes : int
        Expected number of logits.

    Raises
    ------
    UserError
        If it fails, or returns something else.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"model '{name}' has no parameter to train")
    was_training = model.training
    given = f"model '{name}' of inputs of the shape {tuple(inputs.shape)} and {inputs.dtype}"
    try:
        with torch.no_grad(), seeded_globally(0, inputs.device, own_generators(model)):
            outputs = model.eval()(inputs)
    except Exception as error:
        raise UserError(f"{given} failed: {described(error)}") from error
    finally:
        model.train(was_training)
    expected = (len(inputs), num_classes)
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != expected:
        found = f"the shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else shown(type(outputs))
        raise UserError(f"{given} must return a tensor of logits of the shape {expected}, not {found}")
    return outputs


def are_probabilities(outputs: Tensor) -> bool:
    """Return whether outputs, one row per sample, have the form that softmax returns."""
    sums = outputs.sum(dim=1)
    return bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3)


def check_registered(model: nn.Module, name: str) -> None:
    """Check that torch finds everything that is to be trained, and that it has a size.

    Raises
    ------
    UserError
        If layers or parameters are hidden in a list or a table, two entries are one parameter, or an entry
        has no size yet.
    """
    known: dict[int, str] = {}
    for key, parameter in model.named_parameters(remove_duplicate=False):
        if isinstance(parameter, UninitializedParameter):
            raise UserError(f"model '{name}': '{key}' has no size yet (a lazy layer): write its size")
        if (first := known.setdefault(id(parameter), key)) != key:
            raise UserError(
                f"model '{name}': '{key}' and '{first}' are one parameter, and each would be averaged by"
                " itself: keep one of them, and use it twice in forward, such as by"
                f" torch.nn.functional.linear(x, self.{first})"
            )
    for module in model.modules():
        for attribute, value in vars(module).items():
            if isinstance(value, list | tuple | dict) and not attribute.startswith("_"):
                for parameter in _parameters_in(value):
                    if parameter.requires_grad and id(parameter) not in known:
                        raise UserError(
                            f"model '{name}': torch finds no parameters in a {type(value).__name__} such as"
                            f" '{attribute}', so that they would be neither trained nor sent: use"
                            " nn.ModuleList, nn.ModuleDict or nn.ParameterList"
                        )


def _parameters_in(value: Any) -> Iterator[nn.Parameter]:
    if isinstance(value, nn.Parameter):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _parameters_in(part)


def key_recurrent_dropout(model: nn.Module) -> None:
    """Run recurrent layers with dropout without cuDNN, which seeds their dropout once per process."""
    for module in model.modules():
        if isinstance(module, nn.RNNBase) and module.dropout > 0 and module.num_layers > 1:
            module.register_forward_pre_hook(_switch_cudnn_off)
            module.register_forward_hook(_switch_cudnn_on, always_call=True)


def _switch_cudnn_off(module: nn.Module, inputs: Any) -> None:
    torch.backends.cudnn.enabled = False


def _switch_cudnn_on(module: nn.Module, inputs: Any, outputs: Any) -> None:
    torch.backends.cudnn.enabled = True


def _values(model: nn.Module) -> Iterator[Any]:
    """Yield the attributes of all modules and, except for libraries, of their classes and files."""
    classes: dict[type[nn.Module], None] = {}
    for module in model.modules():
        if not isinstance(module, Dropout):
            yield from list(vars(module).values())
            classes[type(module)] = None
    for cls in classes:
        if cls.__module__.partition(".")[0] not in _LIBRARIES:
            yield from list(vars(cls).values())
            yield from list(getattr(cls.forward, "__globals__", {}).values())
