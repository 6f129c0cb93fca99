"""One optimiser for the stacked parameters of several clients."""

import collections
import copy
from collections.abc import Mapping, Sequence

import torch

from clients.local.optimizers import clips_decay, set_learning_rate, weight_decays
from common.records import Tensors

COUNT = "step"  # the optimisers' name for their step count, which is one number for the whole stack


class StackedOptimizer:
    """Steps the parameters of a stack as the worker's optimiser steps those of one client.

    Parameters
    ----------
    template : torch.optim.Optimizer
        The worker's optimiser, whose steps must be elementwise.
    resident : Tensors
        The parameters that it steps.
    leaves : Tensors
        The stack's parameters, by the same names.

    Attributes
    ----------
    optimizer : torch.optim.Optimizer
        Of the same kind as `template`.
    leaves : Tensors
        The parameters that it steps.
    """

    def __init__(self, template: torch.optim.Optimizer, resident: Tensors, leaves: Tensors) -> None:
        self.leaves = leaves
        names = {id(param): name for name, param in resident.items()}
        self.optimizer = copy.copy(template)
        self.optimizer.state = collections.defaultdict(dict)
        self.optimizer.param_groups = [
            {**group, "params": [leaves[names[id(param)]] for param in group["params"] if id(param) in names]}
            for group in template.param_groups
        ]
        self._decays = weight_decays(template, resident) if clips_decay(template) else {}

    def load(self, states: Sequence[Tensors]) -> None:
        """Load the state with which each client's optimiser starts: ``<quantity>/<name>`` → value.

        Step counts must be the same for all clients.
        """
        for key in states[0]:
            quantity, _, name = key.partition("/")
            values = [state[key] for state in states]
            self.optimizer.state[self.leaves[name]][quantity] = (
                values[0].clone() if quantity == COUNT else torch.stack(values)
            )

    def state_of(self, row: int) -> Tensors:
        """Return the state of one client's parameters: ``<quantity>/<name>`` → value."""
        return {
            f"{quantity}/{name}": value.clone() if quantity == COUNT else value[row]
            for name, leaf in self.leaves.items()
            for quantity, value in self.optimizer.state.get(leaf, {}).items()
            if isinstance(value, torch.Tensor)
        }

    def narrow(self, new: Tensors) -> None:
        """Continue with other leaves, which are the first rows of the previous ones."""
        renamed = {id(leaf): new[name] for name, leaf in self.leaves.items()}
        for group in self.optimizer.param_groups:
            group["params"] = [renamed[id(leaf)] for leaf in group["params"]]
        for name, leaf in self.leaves.items():
            kept, rows = self.optimizer.state.pop(leaf, {}), len(new[name])
            self.optimizer.state[new[name]] = {
                quantity: value[:rows] if torch.is_tensor(value) and quantity != COUNT else value
                for quantity, value in kept.items()
            }
        self.leaves = new

    def step(self, learning_rate: float) -> None:
        """Make one step with the gradients of the leaves."""
        set_learning_rate(self.optimizer, learning_rate)
        self.optimizer.step()

    @torch.no_grad()
    def clip(self, largest: float) -> torch.Tensor:
        """Clip the norm of each client's gradient; return which clients' were above `largest`."""
        grads = {name: leaf.grad for name, leaf in self.leaves.items() if leaf.grad is not None}
        decayed = {name: decay for name, decay in self._decays.items() if decay and name in grads}
        self._add(decayed, grads, 1)
        norms = norms_of(grads)
        factor = (largest / (norms + 1e-6)).clamp(max=1.0)
        for grad in grads.values():
            grad.mul_(factor.view(-1, *(1,) * (grad.dim() - 1)))
        self._add(decayed, grads, -1)
        return norms > largest

    def _add(self, decays: Mapping[str, float], grads: Tensors, sign: int) -> None:
        for name, decay in decays.items():
            grads[name].add_(self.leaves[name].detach(), alpha=sign * decay)


def norms_of(stacked: Tensors) -> torch.Tensor:
    """Return the norm of each client's tensors, shape (clients,)."""
    of_tensors = [torch.linalg.vector_norm(value.flatten(1), dim=1) for value in stacked.values()]
    norms: torch.Tensor = torch.linalg.vector_norm(torch.stack(of_tensors), dim=0)
    return norms
