"""Optimisers without torch's compiler.

The methods of torch's optimisers are wrapped so that ``torch.compile`` skips them. The wrappers import the
compiler, which takes more than a second of processor time even if nothing is compiled. The functions that
they wrap do the same arithmetic. Only models are compiled here (``local.compile``), never a step.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Optimizer = TypeVar("Optimizer", bound=torch.optim.Optimizer)

# Where torch defines the wrappers, and what they are around.
WRAPPERS = ("torch._compile", "torch.optim.optimizer")
WRAPPED = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")


def eager(optimizer: type[Optimizer]) -> type[Optimizer]:
    """Return a subclass of an optimiser of torch's whose methods do not import torch's compiler.

    Where torch has no such wrappers it changes nothing.
    """
    methods: dict[str, Any] = {}
    for name in WRAPPED:
        method = getattr(optimizer, name)
        if (plain := unwrapped(method)) is not method:
            methods[name] = _without_gradients(plain) if name == "step" else plain
    return type(optimizer.__name__, (optimizer,), methods)


def unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function without the wrappers of torch's compiler; other decorators stay."""
    while hasattr(function, "__wrapped__") and _home(function) in WRAPPERS:
        function = function.__wrapped__
    return function


def _home(function: Callable[..., Any]) -> str:
    """Return the module in which a function was written, whatever its decorator reports."""
    return str(getattr(function, "__globals__", {}).get("__name__"))


def _without_gradients(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def make_step(self: torch.optim.Optimizer, *arguments: Any, **options: Any) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return step(self, *arguments, **options)

    return make_step
