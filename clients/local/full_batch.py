"""A client's labels and loss over all its data, and the gradient, at the resident model's weights."""

import math
from collections.abc import Callable, Iterator

import torch

from clients.hooks import Hooks
from clients.local.attacks import attack_of
from clients.local.batches import Batch
from clients.local.checked_hooks import checked_loss
from common.records import Tensors
from models.measures.evaluation import evaluation_mode


def labels_trained_on(client: Hooks) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function from true labels to those of training: noisy, and flipped by an attacker."""
    noisy = client.noisy_labels(client.server_round)
    attack = attack_of(client.worker.config, client.client_id)
    if attack is None:
        return noisy
    return lambda labels: attack.labels(noisy(labels), client.worker.dataset.num_classes)


def full_gradient(client: Hooks) -> Tensors:
    """Return the gradient of the mean loss, with the labels that the client trains on."""
    params = client.params
    sums = [torch.zeros_like(value) for value in params.values()]
    for loss in _shares_of_loss(client, labels_trained_on(client)):
        grads = torch.autograd.grad(loss, list(params.values()))
        sums = [a + b for a, b in zip(sums, grads, strict=True)]
    return dict(zip(params, sums, strict=True))


@torch.no_grad()
def full_loss(client: Hooks) -> float:
    """Return the mean loss.

    Labels are noisy like those of training, the same ones for every model of a round; attackers do not flip
    them, since they report true losses.
    """
    noisy = client.noisy_labels(client.server_round)
    return math.fsum(float(loss) for loss in _shares_of_loss(client, noisy))


def _shares_of_loss(
    client: Hooks, targets_of: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[torch.Tensor]:
    """Yield the contributions of the batches of all local data to the mean loss, in evaluation mode."""
    worker = client.worker
    batch_size = worker.config.evaluate.batch_size
    normalizer = client.normalizer("measurement", client.server_round)
    with evaluation_mode(worker.model):
        for indices in torch.split(torch.from_numpy(client.indices).to(worker.device), batch_size):
            labels = worker.train.targets[indices]
            inputs = normalizer(worker.train.inputs.index_select(0, indices))
            batch = Batch(inputs, targets_of(labels), indices, labels)
            yield checked_loss(client, client.params, batch) * (len(batch) / client.num_examples)
