"""The client whose hooks are called for a whole stack: an instance of a subclass of the method's class.

An attribute without a single value for the stack raises `NotStackableError` when a hook reads it.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from clients.local.batches import Batch
from clients.local.stacked.stackable import NotStackableError
from clients.local.worker import Worker
from common.device import autocast
from common.records import Tensors

# What differs from client to client in every stack, and what the engine itself sets.
OF_ONE_CLIENT = ("client_id", "indices", "num_examples")
OF_ENGINE = (
    "worker", "params", "logits", "batch", "num_steps", "num_samples", "step_rate", "training_metrics",
    "finite_steps",
)  # fmt: skip

# Attributes of a worker that are the same for all clients. The rest belongs to the resident model.
_SHARED = (
    "config", "dataset", "device", "train", "model", "normalizer", "metrics", "initial_model", "loss",
    "dropout_layers", "batch_norm_layers", "own_generators", "runs_outside_code",
)  # fmt: skip


class SharedWorker:
    """A worker that shows hooks only what is the same for all clients."""

    def __init__(self, worker: Worker) -> None:
        for name in _SHARED:
            setattr(self, name, getattr(worker, name))

    def __getattr__(self, name: str) -> Any:
        """Refuse what belongs to the resident model."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotStackableError(f"a hook uses worker.{name}, which is one client's at a time")


class PaddedBatch:
    """A mini-batch with padding samples, which only ``gradient_at`` may read."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        """Refuse to show padding as samples."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotStackableError("a hook looks into mini-batches, which a stack has padded to one size")


class StandIn:
    """What a stand-in does differently from a client; precedes the method's class in its bases.

    Attributes
    ----------
    step_rate : float
        Learning rate of the current step.
    """

    step_rate = 0.0
    worker: Any
    batch: Any

    def __getattr__(self, name: str) -> Any:
        """Refuse what differs between clients."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotStackableError(f"a hook uses '{name}', which has no one value for a stack of clients")

    def gradient_at(self, params: Tensors, batch: Any, statistics: Tensors | None = None) -> Tensors:
        """Return the gradient of the loss of `batch` at `params`; running statistics do not change."""
        if statistics:
            raise NotStackableError("a hook keeps running statistics of its own")
        batch = batch._batch if isinstance(batch, PaddedBatch) else batch
        worker = self.worker

        def loss(leaves: Tensors) -> torch.Tensor:
            with (
                spare_statistics(worker.batch_norm_layers),
                autocast(worker.device, worker.config.local.precision),
            ):
                result: torch.Tensor = self.loss(leaves, batch)  # type: ignore[attr-defined]
            return result

        kept = self.__dict__.get("logits")
        grads: Tensors = torch.func.grad(loss)({name: value.detach() for name, value in params.items()})
        self.logits = kept
        return grads

    def _refuse(self, *arguments: Any, **options: Any) -> Any:
        raise NotStackableError("a hook trains, or draws batches, for one client by itself")

    mean_gradient = full_gradient = train_personal = extra_batches = normalizer = generator = _refuse


@contextlib.contextmanager
def spare_statistics(layers: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Let BatchNorm layers update copies of their running statistics."""
    kept = [dict(layer._buffers) for layer in layers]
    for layer in layers:
        for name, value in layer._buffers.items():
            layer._buffers[name] = None if value is None else value.clone()
    try:
        yield
    finally:
        for layer, buffers in zip(layers, kept, strict=True):
            layer._buffers.update(buffers)


@functools.lru_cache(maxsize=64)
def stand_in_class(method: Callable[..., Any]) -> Any:
    """Return the stand-in class for a method's class."""
    return type(f"Stacked{method.__name__}", (StandIn, method), {})  # type: ignore[arg-type]
