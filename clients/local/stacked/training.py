"""The local training loop of ``clients/local/training.py`` for several clients at once."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from clients.hooks import Hooks
from clients.local.batches import Batch
from clients.local.checked_hooks import corrected_gradients
from clients.local.stacked.attributes import Attributes
from clients.local.stacked.batches import PADDING, Part, StackedBatches
from clients.local.stacked.dropout import StackedDraws
from clients.local.stacked.metrics import StackedMetrics
from clients.local.stacked.optimizer import StackedOptimizer
from clients.local.stacked.stackable import NotStackableError
from clients.local.stacked.stand_in import PaddedBatch
from common.budget import num_steps
from common.device import autocast
from common.randomness import torch_seed
from common.records import Tensors
from common.returned import check_names
from common.sections import LocalSection
from models.batch_norm import allow_batch_statistics


class StackedTraining:
    """The local steps of one round of clients with equal signatures.

    Parameters
    ----------
    clients : sequence of Hooks
        After ``begin_round``; `in_order` sorts them.
    budgets : sequence of LocalSection
        Each client's budget.
    state : Tensors
        The parameters and buffers with which each starts, stacked in the same order.

    Attributes
    ----------
    clients : list of Hooks
        By descending number of steps, so that those that are still training are the first rows.
    """

    def __init__(self, clients: Sequence[Hooks], budgets: Sequence[LocalSection], state: Tensors) -> None:
        self.clients = list(clients)
        first = self.clients[0]
        self.worker = worker = first.worker
        self._budgets = budgets
        self.steps = [
            num_steps(budget, client.num_examples)
            for budget, client in zip(self._budgets, self.clients, strict=True)
        ]
        self.model_state = state
        self._leaves: Tensors = {name: state[name].requires_grad_() for name in first.params}
        self._buffers: Tensors = {name: value for name, value in state.items() if name not in first.params}
        self._attributes = Attributes(self.clients)
        self._stand_in = self._attributes.stand_in
        self._has_own_loss = first.overrides("loss")
        self._corrects, self._acts = first.overrides("correct_gradients"), first.overrides("after_step")
        self._chooses_names, self._ends = first.overrides("trained_names"), first.overrides("end_round")
        self._optimizer = StackedOptimizer(worker.optimizer, first.params, self._leaves)
        self._kept: dict[int, Tensors] = {}
        config = worker.config
        self._is_plain = not self._has_own_loss and config.loss.name == "cross-entropy"
        self._pads = (
            self._is_plain and not worker.batch_norm_layers and not worker.train.targets.is_floating_point()
        )
        self._metrics = StackedMetrics(
            len(clients),
            config.dataset.label_noise,
            worker.dataset.num_classes,
            worker.device,
            config.needs_squared_losses,
        )

    def run(self, optimizers: Sequence[Tensors]) -> list[float]:
        """Train all clients to the end; return their mean losses.

        Parameters
        ----------
        optimizers : sequence of Tensors
            The optimiser state with which each starts, in the order in which the clients were given.
        """
        worker = self.worker
        seed_step = self._seeds()
        self._optimizer.load(optimizers)
        batches = StackedBatches(self.clients, self._budgets, self._pads)
        rates = self._rates()
        worker.model.train()
        for step in range(self.steps[0]):
            self._narrow(sum(steps > step for steps in self.steps))
            self._stand_in.num_steps = step
            self._stand_in.step_rate = rates[step]
            self._choose_names()
            seed_step(step)
            for leaf in self._leaves.values():
                leaf.grad = None
            for part in batches.step(self._attributes.size):
                self._add_gradients(part)
            if (largest := worker.config.optimizer.clip_norm) > 0:
                self._metrics.add_clipping(self._optimizer.clip(largest))
            self._optimizer.step(rates[step])
            self._stand_in.num_steps = step + 1
            if self._acts:
                self._after_step()
        self._narrow(0)
        for client, steps in zip(self.clients, self.steps, strict=True):
            client.num_steps = steps
        for layer in worker.dropout_layers:
            layer.generator = None
        losses = self._metrics.hand_out(self.clients, self.steps)
        if self._has_own_loss and any(client.is_first_loss_lost for client in self.clients):
            raise NotStackableError("a loss is not finite in the first local step of the run")
        return losses

    def optimizer_state(self, row: int) -> Tensors:
        """Return the optimiser's state of one client's parameters: ``<quantity>/<name>`` → value.

        Only for methods with an ``end_round``; no others need it.
        """
        return self._kept[row]

    # Before the steps.

    def _rates(self) -> list[float]:
        """Return the learning rate of every step; all clients share it, as part of their signature."""
        client, count = self.clients[0], self.steps[0]
        if not self.worker.varies_by_step:
            return [client.learning_rate] * count
        rates = client.step_rates(count)
        for client, steps in zip(self.clients, self.steps, strict=True):
            client.mean_rate = math.fsum(rates[:steps]) / steps
        return rates

    def _seeds(self) -> Callable[[int], None]:
        """Return the function that seeds every client's dropout for a step."""
        worker = self.worker
        if not worker.dropout_layers:
            return lambda step: None
        generators = Hooks.generators(self.clients, "dropout", worker.device)
        self._draws = StackedDraws(generators)
        for layer in worker.dropout_layers:
            layer.generator = self._draws
        if worker.config.local.sampling == "client":
            return lambda step: None

        def seed(step: int) -> None:
            for client, generator in zip(self.clients, generators, strict=True):
                key = (client.first_step + step, client.client_id)
                generator.manual_seed(torch_seed(worker.config.seed, "step-dropout", *key))

        return seed

    # A step.

    def _narrow(self, left: int) -> None:
        """Keep only the first clients; the others are done."""
        done = self._attributes.size
        if left == done:
            return
        for row in range(left, done) if self._ends else ():
            self._kept[row] = self._optimizer.state_of(row)
        self._attributes.drop(self.clients[left:done], left)
        if left:
            leaves = {
                name: leaf.detach()[:left].requires_grad_(leaf.requires_grad)
                for name, leaf in self._leaves.items()
            }
            self._optimizer.narrow(leaves)
            self._leaves = leaves
            self._buffers = {name: value[:left] for name, value in self._buffers.items()}

    def _choose_names(self) -> None:
        """Freeze what the next step does not train."""
        if self._chooses_names:
            names = self._attributes.plain(lambda client: client.trained_names(), self._leaves)
            check_names(names, self.model_state, "what trained_names returns")
            for name, leaf in self._leaves.items():
                leaf.requires_grad_(name in names)

    def _add_gradients(self, part: Part) -> None:
        """Set the leaves' gradients for some of the clients."""
        rows = part.rows
        leaves, buffers = self._leaves, self._buffers
        if isinstance(rows, torch.Tensor):
            leaves = {n: leaf.detach()[rows].requires_grad_(leaf.requires_grad) for n, leaf in leaves.items()}
            buffers = {name: value[rows] for name, value in buffers.items()}
        if self.worker.dropout_layers:
            self._draws.sizes = part.sizes
            self._draws.clients = rows.tolist() if isinstance(rows, torch.Tensor) else range(len(part.sizes))
        allow_batch_statistics(self.worker.batch_norm_layers, part.sizes[0])
        with autocast(self.worker.device, self.worker.config.local.precision):
            losses, logits = self._losses(leaves, buffers, part)
        self._metrics.add(part, losses, logits)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if self._has_own_loss and all(leaf.grad is None for leaf in leaves.values()):
            raise NotStackableError("a loss does not depend on the model's parameters")
        if self._corrects:
            self._correct(leaves, buffers, part)
        if isinstance(rows, slice):
            return
        for name, value in buffers.items():
            self._buffers[name][rows] = value
        for name, leaf in leaves.items():
            if leaf.grad is not None:
                whole = self._leaves[name]
                whole.grad = torch.zeros_like(whole) if whole.grad is None else whole.grad
                whole.grad[rows] = leaf.grad

    def _losses(
        self, leaves: Tensors, buffers: Tensors, part: Part
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return each client's loss, and the logits if they were recorded."""
        if not self._is_plain:
            return self._attributes.call(_loss, leaves, buffers, part.tensors, part.rows)
        logits = self._attributes.forward(leaves, buffers, part.inputs)
        losses = F.cross_entropy(logits.flatten(0, 1), part.targets.flatten(0, 1), reduction="none")
        sums = losses.view(len(part.targets), -1).sum(1)
        return sums / (part.targets != PADDING).flatten(1).sum(1), logits.detach()

    @torch.no_grad()
    def _correct(self, leaves: Tensors, buffers: Tensors, part: Part) -> None:
        """Replace the gradients with the method's corrected ones."""
        params = {name: leaf.detach() for name, leaf in leaves.items()}
        grads = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

        def correct(client: Any, params: Tensors, arguments: Any) -> Tensors:
            grads, batch = arguments
            client.batch = PaddedBatch(Batch(*batch)) if part.is_padded else Batch(*batch)
            return corrected_gradients(client, params, grads)

        corrected, _ = self._attributes.call(correct, params, buffers, (grads, part.tensors), part.rows)
        for name, grad in corrected.items():
            leaves[name].grad = grad

    def _after_step(self) -> None:
        if type(self.clients[0]).AFTER_STEP_IS_ELEMENTWISE:
            self._attributes.plain(lambda client: _after_step(client, self._leaves), self._leaves)
            return
        params = {name: leaf.detach() for name, leaf in self._leaves.items()}
        self._attributes.call(_after_step, params, self._buffers, (), slice(0, self._attributes.size))


def _loss(client: Any, params: Tensors, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    loss: torch.Tensor = client.loss(params, Batch(*batch))
    if not isinstance(loss, torch.Tensor) or loss.ndim:
        raise NotStackableError("a loss is not a scalar tensor")
    return loss


def _after_step(client: Any, params: Tensors, nothing: Any = None) -> tuple[()]:
    before = list(params.values())
    if client.after_step(params) is not None or any(map(operator.is_not, params.values(), before)):
        raise NotStackableError("after_step returns new tensors, or puts them into params")
    return ()
