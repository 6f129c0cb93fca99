"""The local training loop, written once for all methods."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import nn

from clients.hooks import Hooks
from clients.local.attacks import attack_of
from clients.local.batches import Batch, iterate_batches
from clients.local.metrics import TrainingMetrics
from clients.local.optimizers import (
    clips_decay,
    load_optimizer_state,
    reset_optimizer,
    set_learning_rate,
    weight_decays,
)
from clients.local.sampling import iterate_stream
from common.budget import num_steps
from common.device import autocast
from common.errors import UserError
from common.global_generators import seed_again
from common.plugin_kinds import LOSS
from common.plugins import is_from_outside
from common.randomness import Purpose, torch_seed
from common.records import Tensors
from common.returned import call_for_effect, check_like, check_loss, check_names
from common.sections import LocalSection
from datasets.noise.label_noise import corrupt_labels
from datasets.transforms import augmented, is_augmented
from models.measures.evaluation import evaluation_mode


def iterate_training_batches(client: Hooks, purpose: str, local: LocalSection) -> Iterator[Batch]:
    """Yield the mini-batches of a client's budget: shuffled, augmented, normalised, on the device.

    Every source of randomness is keyed by (seed, purpose, round, client), so the result does not depend on
    which worker runs the job or on what ran there before.

    Parameters
    ----------
    client : Hooks
        Whose data.
    purpose : str
        What the batches are for: empty for the round's training. Each purpose draws different batches.
    local : LocalSection
        The budget and the batch size.
    """
    worker, config = client.worker, client.worker.config
    if augments := is_augmented(config.augmentation):
        augment = client.generator("augment", purpose, worker.device)
    normalizer = client.normalizer(
        cast(Purpose, f"{purpose}-noise" if purpose else "noise"), client.server_round
    )
    attack = attack_of(config, client.client_id)
    label_noise = config.dataset.label_noise
    if label_noise > 0:
        corruption = client.generator("label-noise", purpose, worker.device)
    memory_format = torch.channels_last if local.channels_last else torch.contiguous_format
    goes_on = local.sampling != "client" and not purpose  # batches of the run, not of the round
    first_step = client.first_step if goes_on else 0
    for index, batch_indices in enumerate(sample_stream(client, purpose, local)):
        inputs = worker.train.inputs.index_select(0, batch_indices)
        step_key = (first_step + index, client.client_id)
        if augments and goes_on:
            augment.manual_seed(torch_seed(config.seed, "step-augment", *step_key))
        inputs = (
            augmented(inputs, normalizer, config.augmentation, augment) if augments else normalizer(inputs)
        )
        if inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=memory_format)
        targets = labels = worker.train.targets[batch_indices]
        if label_noise > 0:
            if goes_on:
                corruption.manual_seed(torch_seed(config.seed, "step-label-noise", *step_key))
            targets = corrupt_labels(labels, label_noise, worker.dataset.num_classes, corruption)
        if attack:
            targets = attack.labels(targets, worker.dataset.num_classes)
        yield Batch(inputs, targets, batch_indices, labels)


def sample_stream(
    client: Hooks, purpose: str, local: LocalSection, shuffle: torch.Generator | None = None
) -> Iterator[torch.Tensor]:
    """Return the sample indices of each mini-batch, on the device; see ``iterate_training_batches``.

    `shuffle` is the client's generator for the purpose ``shuffle``, if it has been made already.
    """
    if local.sampling != "client" and not purpose:
        return iterate_stream(client, local)
    indices = torch.from_numpy(client.indices).to(client.worker.device)
    return iterate_batches(indices, local, shuffle or client.generator("shuffle", purpose))


def train_locally(client: Hooks, purpose: str = "", local: LocalSection | None = None) -> tuple[int, float]:
    """Spend a local budget on the worker's resident model.

    Parameters
    ----------
    client : Hooks
        Its hooks decide what is trained and on which loss.
    purpose : str
        Empty for the round's training of the global model; see ``iterate_training_batches``.
    local : LocalSection, optional
        The budget, by default that of the round.

    Returns
    -------
    tuple[int, float]
        Number of optimiser steps, and the mean loss over the samples processed.
    """
    worker, params = client.worker, client.params
    local = local or client.budget
    seed_step = seed_steps(client, purpose)
    corrects_gradients = client.overrides("correct_gradients")
    chooses_names = client.overrides("trained_names")
    reset_optimizer(worker.optimizer, client.learning_rate)
    rate_varies = not purpose and worker.varies_by_step
    clip_norm = worker.config.optimizer.clip_norm
    if rate_varies:
        rates = client.step_rates(num_steps(local, client.num_examples))
        client.mean_rate = math.fsum(rates) / len(rates)
    goes_on = not purpose and local.sampling != "client"
    if not purpose:
        load_optimizer_state(worker.optimizer, params, client.starting_optimizer())
    worker.model.train()

    metrics = TrainingMetrics(
        worker.config.dataset.label_noise, worker.dataset.num_classes, worker.config.needs_squared_losses
    )
    losses: list[torch.Tensor] = []
    sizes: list[int] = []
    client.num_steps = 0
    trained: Collection[str] = params
    try:
        for batch in iterate_training_batches(client, purpose, local):
            if chooses_names and (names := client.trained_names()) is not trained:
                trained = names
                _check_trains(client, trained, params)
                _freeze_all_but(trained, params)
            if rate_varies:
                set_learning_rate(worker.optimizer, rates[client.num_steps])
            if goes_on:
                seed_step(client.first_step + client.num_steps)
            allow_batch_statistics(worker.batch_norm_layers, batch)
            for parameter in worker.parameters.values():
                parameter.grad = None  # as the optimiser's ``zero_grad``, which costs more than a small step
            client.logits = None
            with mixed_precision(worker.device, local):
                loss = checked_loss(client, params, batch)
            if client.logits is not None:
                metrics.add(client.logits, batch.labels)
            loss.backward()  # type: ignore[no-untyped-call]
            if all(parameter.grad is None for parameter in worker.parameters.values()):
                raise UserError(
                    f"{loss_returned(client)} does not depend on the model's parameters: compute it from"
                    " self.forward(params, batch.inputs)"
                )
            if corrects_gradients:
                _replace_gradients(client, params, batch)
            if clip_norm > 0:
                metrics.add_clipping(_clip_gradients(params, clip_norm, worker.optimizer))
            worker.optimizer.step()
            client.num_steps += 1
            call_for_effect(client.after_step, params)
            losses.append(loss.detach())
            sizes.append(len(batch))
    finally:
        worker.has_trained()
        if chooses_names:
            _freeze_all_but(params, params)

    client.num_samples = sum(sizes)
    client.logits = None
    client.training_metrics = metrics.results()
    weights = torch.tensor(sizes, dtype=torch.float64)
    mean_loss = float((torch.stack(losses).double().cpu() * weights).sum() / weights.sum())
    if not math.isfinite(mean_loss):
        client.finite_steps = int(torch.stack(losses).isfinite().cumprod(0).sum())
        if client.is_first_loss_lost and not purpose:
            _check_first_loss(client, losses[0])
    return len(sizes), mean_loss


def seed_steps(client: Hooks, purpose: str) -> Callable[[int], None]:
    """Seed the random numbers of the model's forward pass for this client, purpose and round.

    Our own dropout layers share one generator; anything else draws from the global ones.

    Returns
    -------
    callable
        Seeds them for one local step of the run, whichever round that step is in.
    """
    worker, seed = client.worker, client.worker.config.seed
    if worker.dropout_layers:
        dropout = client.generator("dropout", purpose, worker.device)
    for layer in worker.dropout_layers:
        layer.generator = dropout  # one for all layers: with one each, all would draw the same numbers
    if worker.runs_outside_code:
        key = cast(Purpose, f"{purpose}-steps" if purpose else "steps")
        seed_again(
            torch_seed(seed, key, client.server_round, client.client_id), worker.device, worker.own_generators
        )
        of_run = torch_seed(seed, "steps", 0, client.client_id)  # rounds begin with 1

    def seed_step(step: int) -> None:
        if worker.dropout_layers:
            dropout.manual_seed(torch_seed(seed, "step-dropout", step, client.client_id))
        if worker.runs_outside_code:
            seed_again((of_run + step) % 2**63, worker.device, worker.own_generators)

    return seed_step


def mixed_precision(device: torch.device, local: LocalSection) -> AbstractContextManager[object]:
    """Return the context for computing a training loss: bfloat16 autocast if it is asked for and safe."""
    return autocast(device, local.precision)


def allow_batch_statistics(batch_norm_layers: Iterable[nn.Module], batch: Batch) -> None:
    """Let layers use the statistics of the batch, or the running ones for a batch of a single sample."""
    for layer in batch_norm_layers:
        layer.train(len(batch) > 1)


def _check_first_loss(client: Hooks, loss: torch.Tensor) -> None:
    """Refuse a loss from outside the project that is not finite before the model has taken a step."""
    if (client.is_foreign and client.overrides("loss")) or is_from_outside(
        LOSS, client.worker.config.loss.name
    ):
        raise UserError(
            f"{loss_returned(client)} must be finite, and is {loss.item()} for the initial model, in the"
            f" first local step of client {client.client_id}"
        )


def _check_trains(client: Hooks, names: Collection[str], params: Tensors) -> None:
    """Refuse to train a part that the model does not have, such as a body."""
    check_names(names, client.worker.state, f"what {type(client).__name__}.trained_names returns")
    if not any(name in params for name in names):
        config = client.worker.config
        raise UserError(
            f"method.name '{config.method.name}' has nothing to train in local step {client.num_steps + 1}:"
            f" the part of the model trained in it has no parameters in '{config.model.name}'; choose"
            " another model or method"
        )


def _freeze_all_but(names: Collection[str], params: Tensors) -> None:
    for name, param in params.items():
        param.requires_grad_(name in names)


@torch.no_grad()
def _clip_gradients(params: Tensors, largest: float, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """Clip the norm of the gradient; with ``clip-decay``, that of the gradient plus weight decay.

    Returns whether it was above `largest`.
    """
    decays = weight_decays(optimizer, params) if clips_decay(optimizer) else {}
    decayed = [
        (param.grad, param, decay)
        for name, decay in decays.items()
        if decay and (param := params[name]).grad is not None
    ]
    for grad, param, decay in decayed:
        grad.add_(param, alpha=decay)
    norm = torch.nn.utils.clip_grad_norm_(params.values(), largest)
    for grad, param, decay in decayed:  # the optimiser adds it again
        grad.sub_(param, alpha=decay)
    return norm > largest


@torch.no_grad()
def _replace_gradients(client: Hooks, params: Tensors, batch: Batch) -> None:
    grads = {name: param.grad for name, param in params.items() if param.grad is not None}
    client.batch = batch
    keeps_it = client.is_foreign and client.worker.config.optimizer.clip_norm > 0  # clipping writes into it
    for name, grad in corrected_gradients(client, params, grads).items():
        is_kept = grad is params[name] or (keeps_it and grad is not grads.get(name))
        params[name].grad = grad.clone() if is_kept else grad


def corrected_gradients(client: Hooks, params: Tensors, grads: Tensors) -> Tensors:
    """Return what ``correct_gradients`` makes of gradients.

    Raises
    ------
    UserError
        If one is missing, is not one of them, or is not like its parameter.
    """
    names = list(grads)  # the hook may change the mapping itself
    corrected = client.correct_gradients(params, grads)
    what = f"what {type(client).__name__}.correct_gradients returns"
    missing = "return grads['{name}'] to leave that gradient as it is, zeros for none"
    check_like(corrected, params, what, missing, names)
    return corrected


def checked_loss(client: Hooks, params: Tensors, batch: Batch) -> torch.Tensor:
    """Return a client's loss of a mini-batch.

    Raises
    ------
    UserError
        If it is not a scalar tensor with a gradient.
    """
    loss = client.loss(params, batch)
    check_loss(loss, loss_returned(client))
    return loss


def loss_returned(client: Hooks) -> str:
    """Return what to call the value of a client's loss in messages."""
    if client.overrides("loss"):
        return f"what {type(client).__name__}.loss returns"
    return f"what the loss '{client.worker.config.loss.name}' returns"


def full_gradient(client: Hooks) -> Tensors:
    """Return the gradient of a client's mean loss over all its data, at the resident model's weights.

    Labels are those of training: noisy ones, and flipped ones of an attacker.
    """
    params = client.params
    sums = [torch.zeros_like(value) for value in params.values()]
    noisy, attack = (
        client.noisy_labels(client.server_round),
        attack_of(client.worker.config, client.client_id),
    )

    def trained_on(labels: torch.Tensor) -> torch.Tensor:
        targets = noisy(labels)
        return attack.labels(targets, client.worker.dataset.num_classes) if attack else targets

    for loss in _shares_of_loss(client, trained_on):
        grads = torch.autograd.grad(loss, list(params.values()))
        sums = [a + b for a, b in zip(sums, grads, strict=True)]
    return dict(zip(params, sums, strict=True))


@torch.no_grad()
def full_loss(client: Hooks) -> float:
    """Return a client's mean loss over all its data, at the resident model's weights.

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
