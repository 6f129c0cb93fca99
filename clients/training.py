"""The local training loop, written once for all methods."""

from typing import TYPE_CHECKING

import torch

from clients.batches import iterate_batches
from clients.optimizers import reset_optimizer
from common.randomness import torch_generator
from common.records import Section
from datasets.transforms import crop_flip

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


def train_locally(client: "Client") -> tuple[int, float]:
    """Spend a client's local budget of one round on the worker's resident model.

    Every source of randomness is keyed by (seed, purpose, round, client), so that the result does not
    depend on which worker runs the job, nor on what ran there before.

    Returns
    -------
    tuple[int, float]
        Number of optimiser steps, and the loss averaged over the samples that were processed.
    """
    worker, config, key = client.worker, client.worker.config, (client.server_round, client.client_id)
    local, device, model = config.local, worker.device, worker.model
    shuffle = torch_generator(config.seed, "shuffle", *key)
    augment = torch_generator(config.seed, "augment", *key, device=device)
    dropout = client.dropout_generator  # one for all layers: with one each, all would draw the same numbers
    for layer in worker.dropout_layers:
        layer.generator = dropout
    normalizer = client.normalizer("noise", client.server_round)
    memory_format = torch.channels_last if local.channels_last else torch.contiguous_format
    indices = torch.from_numpy(client.indices).to(device)
    params = client.params
    corrects_gradients = client.overrides("correct_gradients")
    reset_optimizer(worker.optimizer, client.learning_rate)
    model.train()

    losses: list[torch.Tensor] = []
    sizes: list[int] = []
    for batch_indices in iterate_batches(indices, local, shuffle):
        inputs = worker.train.inputs.index_select(0, batch_indices)
        if config.dataset.augmentation == "crop-flip":
            inputs = crop_flip(inputs, augment, config.dataset.crop_padding)
        inputs = normalizer(inputs)
        if inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=memory_format)
        batch = Batch(inputs, worker.train.targets[batch_indices], batch_indices)

        for batch_norm in worker.batch_norm_layers:
            batch_norm.train(len(batch) > 1)  # one sample has no batch statistics: the running ones serve
        worker.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=local.precision == "bfloat16"):
            loss = client.loss(params, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        if corrects_gradients:
            _replace_gradients(client, params)
        if local.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(params.values(), local.clip_norm)
        worker.optimizer.step()
        client.after_step(params)
        losses.append(loss.detach())
        sizes.append(len(batch))

    weights = torch.tensor(sizes, dtype=torch.float64)
    mean_loss = float((torch.stack(losses).double().cpu() * weights).sum() / weights.sum())
    return len(sizes), mean_loss


@torch.no_grad()
def _replace_gradients(client: "Client", params: Section) -> None:
    grads = {name: param.grad for name, param in params.items() if param.grad is not None}
    for name, grad in client.correct_gradients(params, grads).items():
        params[name].grad = grad


def full_gradient(client: "Client") -> Section:
    """Return the gradient of a client's mean loss over all its data, at the resident model's weights."""
    worker = client.worker
    names, values = list(client.params), list(client.params.values())
    sums = [torch.zeros_like(value) for value in values]
    batch_size = worker.config.evaluate.batch_size
    normalizer = client.normalizer("measurement", client.server_round)
    was_training = worker.model.training
    worker.model.eval()
    for indices in torch.split(torch.from_numpy(client.indices).to(worker.device), batch_size):
        batch = Batch(
            normalizer(worker.train.inputs.index_select(0, indices)),
            worker.train.targets[indices],
            indices,
        )
        grads = torch.autograd.grad(
            client.loss(client.params, batch) * (len(batch) / client.num_examples), values
        )
        sums = [total + grad for total, grad in zip(sums, grads, strict=True)]
    worker.model.train(was_training)
    return dict(zip(names, sums, strict=True))
