"""What the hooks of a method may call."""

import itertools
import sys
from collections.abc import Iterator

import torch

from clients.hooks import Hooks
from clients.local.batches import Batch
from clients.local.checked_hooks import checked_loss
from clients.local.forward_seeds import seed_forward
from clients.local.full_batch import full_gradient
from clients.local.training import train_locally
from clients.local.training_batches import iterate_training_batches
from common.device import autocast
from common.records import Tensors
from models.batch_norm import allow_batch_statistics


class Helpers(Hooks):
    """In addition to ``forward`` and the attributes of ``clients.local.job.Job``."""

    def gradient_at(self, params: Tensors, batch: Batch, statistics: Tensors | None = None) -> Tensors:
        """Return the gradient of ``loss_and_gradient``."""
        return self.loss_and_gradient(params, batch, statistics)[1]

    def loss_and_gradient(
        self, params: Tensors, batch: Batch, statistics: Tensors | None = None
    ) -> tuple[torch.Tensor, Tensors]:
        """Return the loss of `batch` and its gradient at `params`, without changing `params`.

        BatchNorm's running statistics do not change either, since `params` need not be the model's weights;
        `statistics` are those that belong to `params`, and are updated in place.
        """
        worker = self.worker
        of_model = {name: value.clone() for name, value in worker.buffers.items()}
        if statistics:
            worker.load(statistics)
        if worker.model.training:
            allow_batch_statistics(worker.batch_norm_layers, len(batch))
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
            with autocast(worker.device, worker.config.local.precision):
                loss = checked_loss(self, leaves, batch)
            grads = torch.autograd.grad(loss, list(leaves.values()))
        for name, value in (statistics or {}).items():
            value.copy_(worker.buffers[name])
        worker.load(of_model)
        return loss.detach(), dict(zip(leaves, grads, strict=True))

    def mean_gradient(self, num_batches: int) -> Tensors:
        """Return the mean gradient of fresh mini-batches at the resident model, without weight decay."""
        self.worker.model.train()
        seed_forward(self, "extra")
        gradients = [
            self.gradient_at(self.params, batch)
            for batch in itertools.islice(self.extra_batches(), num_batches)
        ]
        return {name: torch.stack([g[name] for g in gradients]).mean(dim=0) for name in gradients[0]}

    def extra_batches(self) -> Iterator[Batch]:
        """Yield an endless stream of mini-batches, independent of those of the round's steps."""
        endless = self.worker.config.local.model_copy(update={"epochs": 0, "steps": sys.maxsize})
        return iterate_training_batches(self, "extra", endless)

    def train_personal(self, start: Tensors, learning_rate: float | None = None, **budget: int) -> Tensors:
        """Train a second model on the client's data and return its entries; the resident model is restored.

        While it trains, ``is_personal_phase`` is true, so that hooks can distinguish the two.

        Parameters
        ----------
        start : Tensors
            The entries in which the second model differs from the resident one; the same ones are returned.
        learning_rate : float, optional
            By default that of the round, or of its first step if it changes within the round.
        **budget : int
            ``steps`` or ``epochs`` (whichever is above 0), by default the round's budget.
        """
        worker = self.worker
        kept = {name: value.detach().clone() for name, value in worker.model_state.items()}
        local = self.budget
        if any(budget.values()):
            local = local.model_copy(update={"steps": 0, "epochs": 0, **budget})
        num_steps, round_rate, self.is_personal_phase = self.num_steps, self.learning_rate, True
        self.learning_rate = round_rate if learning_rate is None else learning_rate
        try:
            worker.load(start)
            with torch.enable_grad():
                train_locally(self, "personal", local)
            return {name: worker.model_state[name].detach().clone() for name in start}
        finally:
            worker.load(kept)
            self.num_steps, self.learning_rate, self.is_personal_phase = num_steps, round_rate, False

    def full_gradient(self) -> Tensors:
        """Return the gradient of the mean loss over all local data at the resident model.

        In evaluation mode, without augmentation and without weight decay, which the optimiser adds.
        """
        return full_gradient(self)
