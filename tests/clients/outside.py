"""Client halves from outside the project, as plug-ins are; they are named by module and class."""

import functools
import random

import numpy as np
import torch

from clients.base import Client
from common.records import ARRAYS, Payload, Tensors


class Halved(Client):
    """Keeps the half of each change and sends the other, without a random number."""

    def init_state(self) -> Payload:
        return {"rest": {name: value.detach() * 0 for name, value in self.params.items()}}

    def end_round(self, params: Tensors) -> Payload:
        start, rest = self.global_params, self.state["rest"]
        half = {name: (rest[name] + value - start[name]) / 2 for name, value in params.items()}
        self.state["rest"] = half
        return {ARRAYS: {name: start[name] + value for name, value in half.items()}}


class DrawsFirst(Client):
    """Draws before its steps."""

    def begin_round(self) -> None:
        self.factor = random.random()

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        return {name: self.factor * grad for name, grad in grads.items()}


class DrawsInSteps(Client):
    """Draws in every step, from a generator that it makes without a seed."""

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        factor = float(np.random.default_rng().random())
        return {name: factor * grad for name, grad in grads.items()}


class DrawsOnce(Client):
    """Draws for a property, when it is first read."""

    @functools.cached_property
    def factor(self) -> float:
        return random.random()

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        return {name: self.factor * grad for name, grad in grads.items()}


class DrawsLast(Client):
    """Draws after its steps."""

    def end_round(self, params: Tensors) -> Payload:
        factor = float(torch.rand(()))
        return {ARRAYS: {name: factor * value for name, value in params.items()}}


class Writes(Client):
    """Writes into the model after its steps."""

    def end_round(self, params: Tensors) -> Payload:
        for value in params.values():
            value.mul_(0.5)
        return {}


class SendsUnknown(Client):
    """Sends an entry that the model does not have."""

    def end_round(self, params: Tensors) -> Payload:
        return {ARRAYS: {"no-entry": next(iter(params.values()))}}
