"""The local training loop, written once for all methods."""

import math
from collections.abc import Collection

import torch

from clients.hooks import Hooks
from clients.local.batches import Batch
from clients.local.checked_hooks import (
    check_first_loss,
    check_reaches_parameters,
    check_trained_names,
    checked_initial_optimizer,
    checked_loss,
    corrected_gradients,
)
from clients.local.forward_seeds import seed_forward, seed_forward_of_step
from clients.local.metrics import TrainingMetrics
from clients.local.optimizers import (
    clips_decay,
    load_optimizer_state,
    reset_optimizer,
    set_learning_rate,
    weight_decays,
)
from clients.local.training_batches import belong_to_the_run, iterate_training_batches
from common.budget import num_steps
from common.device import autocast
from common.records import Tensors
from common.returned import call_for_effect
from common.sections import LocalSection
from models.batch_norm import allow_batch_statistics


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
    return _Training(client, purpose, local or client.budget).run()


class _Training:
    """The steps of one local budget; the methods stand in the order in which ``run`` calls them."""

    def __init__(self, client: Hooks, purpose: str, local: LocalSection) -> None:
        worker = client.worker
        config = worker.config
        self._client, self._purpose, self._local = client, purpose, local
        self._worker, self._params = worker, client.params
        self._is_of_round = not purpose  # otherwise of another model, at one learning rate
        self._seeds_steps = belong_to_the_run(purpose, local)
        self._corrects_gradients = client.overrides("correct_gradients")
        self._chooses_names = client.overrides("trained_names")
        self._trained: Collection[str] = client.params
        self._clip_norm = config.optimizer.clip_norm
        self._rates: list[float] = []  # of each step; empty if all have the one of the optimiser
        self._losses: list[torch.Tensor] = []
        self._sizes: list[int] = []
        self._metrics = TrainingMetrics(
            config.dataset.label_noise, worker.dataset.num_classes, config.needs_squared_losses
        )

    def run(self) -> tuple[int, float]:
        """Take all steps; returns as ``train_locally``."""
        self._begin()
        try:
            for batch in iterate_training_batches(self._client, self._purpose, self._local):
                if self._steps_differ:
                    self._begin_step()
                self._compute_gradients(batch)
                self._take_step(batch)
        finally:
            self._worker.mark_trained()
            if self._chooses_names:
                self._freeze_all_but(self._params)
        return len(self._sizes), self._conclude()

    def _begin(self) -> None:
        client, worker = self._client, self._worker
        seed_forward(client, self._purpose)
        reset_optimizer(worker.optimizer, client.learning_rate)
        if self._is_of_round:
            if worker.varies_by_step:
                self._rates = client.step_rates(num_steps(self._local, client.num_examples))
                client.mean_rate = math.fsum(self._rates) / len(self._rates)
            load_optimizer_state(worker.optimizer, self._params, checked_initial_optimizer(client))
        self._steps_differ = self._chooses_names or bool(self._rates) or self._seeds_steps
        worker.model.train()
        client.num_steps = 0

    def _begin_step(self) -> None:
        """Set what a step may have of its own: the trained parameters, its learning rate, its seed."""
        client = self._client
        if self._chooses_names and (names := client.trained_names()) is not self._trained:
            self._trained = names
            check_trained_names(client, names)
            self._freeze_all_but(names)
        if self._rates:
            set_learning_rate(self._worker.optimizer, self._rates[client.num_steps])
        if self._seeds_steps:
            seed_forward_of_step(client, client.first_step + client.num_steps)

    def _freeze_all_but(self, names: Collection[str]) -> None:
        for name, param in self._params.items():
            param.requires_grad_(name in names)

    def _compute_gradients(self, batch: Batch) -> None:
        """Run the forward and the backward pass."""
        client, worker = self._client, self._worker
        self._sizes.append(size := len(batch))
        allow_batch_statistics(worker.batch_norm_layers, size)
        for parameter in worker.parameters.values():
            parameter.grad = None  # as the optimiser's ``zero_grad``, which costs more than a small step
        client.logits = None
        with autocast(worker.device, self._local.precision):
            loss = checked_loss(client, self._params, batch)
        if client.logits is not None:
            self._metrics.add(client.logits, batch.labels)
        loss.backward()  # type: ignore[no-untyped-call]
        check_reaches_parameters(client)
        self._losses.append(loss.detach())

    def _take_step(self, batch: Batch) -> None:
        """Change the parameters, by the gradients that the method and clipping make of the loss's."""
        client, optimizer = self._client, self._worker.optimizer
        if self._corrects_gradients:
            _correct_gradients(client, self._params, batch)
        if self._clip_norm > 0:
            self._metrics.add_clipping(_clip_gradients(self._params, self._clip_norm, optimizer))
        optimizer.step()
        client.num_steps += 1
        call_for_effect(client.after_step, self._params)

    def _conclude(self) -> float:
        """Leave what was measured with the client, and return the mean loss."""
        client = self._client
        client.num_samples = sum(self._sizes)
        client.logits = None
        client.training_metrics = self._metrics.results()
        losses = torch.stack(self._losses)
        weights = torch.tensor(self._sizes, dtype=torch.float64)
        mean_loss = float((losses.double().cpu() * weights).sum() / weights.sum())
        if not math.isfinite(mean_loss):
            client.finite_steps = int(losses.isfinite().cumprod(0).sum())
            if client.is_first_loss_lost and self._is_of_round:
                check_first_loss(client, losses[0])
        return mean_loss


@torch.no_grad()
def _correct_gradients(client: Hooks, params: Tensors, batch: Batch) -> None:
    grads = {name: param.grad for name, param in params.items() if param.grad is not None}
    client.batch = batch
    # Clipping writes into it.
    keeps_it = client.is_from_outside and client.worker.config.optimizer.clip_norm > 0
    for name, grad in corrected_gradients(client, params, grads).items():
        is_kept = grad is params[name] or (keeps_it and grad is not grads.get(name))
        params[name].grad = grad.clone() if is_kept else grad


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
