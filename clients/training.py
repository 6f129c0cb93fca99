"""The local training loop, written once for all methods."""

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from clients.batches import iterate_batches
from clients.optimizers import reset_optimizer
from common.config import LocalSection
from common.randomness import Purpose
from common.records import Section
from datasets.transforms import crop_flip
from models.evaluation import evaluation_mode

if TYPE_CHECKING:
    from clients.base import Client


class Batch:
    """One mini-batch on the device: normalised inputs, integer targets, and the samples' indices."""

    __slots__ = ("indices", "inputs", "targets")

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor, indices: torch.Tensor) -> None:
        self.inputs = inputs
        self.targets = targets
        self.indices = indices

    def __len__(self) -> int:
        return len(self.targets)


def iterate_training_batches(client: "Client", purpose: str, local: LocalSection) -> Iterator[Batch]:
    """Yield the mini-batches of a client's budget: shuffled, augmented, normalised, on the device.

    Every source of randomness is keyed by (seed, purpose, round, client), so that the result does not
    depend on which worker runs the job, nor on what ran there before.

    Parameters
    ----------
    client : Client
        Whose data.
    purpose : str
        What the batches are for: empty for the round's training; others draw other batches.
    local : LocalSection
        The budget and the batch size.
    """
    worker, config = client.worker, client.worker.config
    shuffle = client.generator("shuffle", purpose)
    augment = client.generator("augment", purpose, worker.device)
    normalizer = client.normalizer(
        cast(Purpose, f"{purpose}-noise" if purpose else "noise"), client.server_round
    )
    memory_format = torch.channels_last if local.channels_last else torch.contiguous_format
    indices = torch.from_numpy(client.indices).to(worker.device)
    for batch_indices in iterate_batches(indices, local, shuffle):
        inputs = worker.train.inputs.index_select(0, batch_indices)
        if config.dataset.augmentation == "crop-flip":
            inputs = crop_flip(inputs, augment, config.dataset.crop_padding)
        inputs = normalizer(inputs)
        if inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=memory_format)
        yield Batch(inputs, worker.train.targets[batch_indices], batch_indices)


def train_locally(
    client: "Client", purpose: str = "", local: LocalSection | None = None
) -> tuple[int, float]:
    """Spend a local budget on the worker's resident model.

    Parameters
    ----------
    client : Client
        Its hooks decide what is trained, and on which loss.
    purpose : str
        Empty for the round's training of the global model; see ``iterate_training_batches``.
    local : LocalSection, optional
        The budget, by default that of the round.

    Returns
    -------
    tuple[int, float]
        Number of optimiser steps, and the loss averaged over the samples that were processed.
    """
    worker, params = client.worker, client.params
    local = local or client.budget
    dropout = client.generator("dropout", purpose, worker.device)
    for layer in worker.dropout_layers:
        layer.generator = dropout  # one for all layers: with one each, all would draw the same numbers
    corrects_gradients = client.overrides("correct_gradients")
    chooses_names = client.overrides("trained_names")
    reset_optimizer(worker.optimizer, client.learning_rate)
    worker.model.train()

    losses: list[torch.Tensor] = []
    sizes: list[int] = []
    client.num_steps = 0
    trained: Collection[str] = params
    try:
        for batch in iterate_training_batches(client, purpose, local):
            if chooses_names and (names := client.trained_names()) is not trained:
                trained = names
                _freeze_all_but(trained, params)
            allow_batch_statistics(worker.batch_norm_layers, batch)
            worker.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(worker.device.type, torch.bfloat16, enabled=local.precision == "bfloat16"):
                loss = client.loss(params, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            if corrects_gradients:
                _replace_gradients(client, params, batch)
            if local.clip_norm > 0:
                _clip_gradients(params, local)
            worker.optimizer.step()
            client.num_steps += 1
            client.after_step(params)
            losses.append(loss.detach())
            sizes.append(len(batch))
    finally:
        if chooses_names:
            _freeze_all_but(params, params)

    weights = torch.tensor(sizes, dtype=torch.float64)
    mean_loss = float((torch.stack(losses).double().cpu() * weights).sum() / weights.sum())
    return len(sizes), mean_loss


def allow_batch_statistics(batch_norm_layers: Iterable[nn.Module], batch: Batch) -> None:
    """Let layers use the statistics of a batch; one sample has none, and the running ones serve."""
    for layer in batch_norm_layers:
        layer.train(len(batch) > 1)


def _freeze_all_but(names: Collection[str], params: Section) -> None:
    for name, param in params.items():
        param.requires_grad_(name in names)


@torch.no_grad()
def _clip_gradients(params: Section, local: LocalSection) -> None:
    """Clip the norm of the gradient, with ``clip-decay`` that of the gradient with weight decay."""
    decay = local.weight_decay if local.clip_decay else 0.0
    decayed = [(param.grad, param) for param in params.values() if decay and param.grad is not None]
    for grad, param in decayed:
        grad.add_(param, alpha=decay)
    torch.nn.utils.clip_grad_norm_(params.values(), local.clip_norm)
    for grad, param in decayed:  # the optimiser adds it again
        grad.sub_(param, alpha=decay)


@torch.no_grad()
def _replace_gradients(client: "Client", params: Section, batch: Batch) -> None:
    grads = {name: param.grad for name, param in params.items() if param.grad is not None}
    client.batch = batch
    for name, grad in client.correct_gradients(params, grads).items():
        params[name].grad = grad


def full_gradient(client: "Client") -> Section:
    """Return the gradient of a client's mean loss over all its data, at the resident model's weights."""
    worker = client.worker
    names, values = list(client.params), list(client.params.values())
    sums = [torch.zeros_like(value) for value in values]
    batch_size = worker.config.evaluate.batch_size
    normalizer = client.normalizer("measurement", client.server_round)
    with evaluation_mode(worker.model):
        for indices in torch.split(torch.from_numpy(client.indices).to(worker.device), batch_size):
            batch = Batch(
                normalizer(worker.train.inputs.index_select(0, indices)),
                worker.train.targets[indices],
                indices,
            )
            loss = client.loss(client.params, batch) * (len(batch) / client.num_examples)
            sums = [a + b for a, b in zip(sums, torch.autograd.grad(loss, values), strict=True)]
    return dict(zip(names, sums, strict=True))
