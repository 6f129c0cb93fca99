"""Dropout in a stack: every client has the masks that it would draw if it trained alone."""

from collections.abc import Sequence
from typing import Any

import torch


class StackedDraws:
    """Uniform numbers for ``models.architectures.layers.Dropout``, from a generator of each client.

    Parameters
    ----------
    generators : sequence of torch.Generator
        One for each client of the stack, on the device of the model.

    Attributes
    ----------
    clients : sequence of int
        The clients of the current forward pass.
    sizes : sequence of int
        Number of samples of each; any further ones are padding, for which nothing is drawn.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators
        self.clients: Sequence[int] = range(len(generators))
        self.sizes: Sequence[int] = ()

    def __call__(self, like: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Return numbers of the shape of a single client's."""
        result: torch.Tensor = _Draw.apply(like.detach(), self, tuple(shape))
        return result

    def drawn(self, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        """Return the numbers of all clients, with a first dimension of clients before `shape`."""
        numbers = torch.zeros(len(self.clients), *shape, dtype=torch.float32, device=device)
        for row, client, size in zip(numbers, self.clients, self.sizes, strict=True):
            own = torch.empty(size, *shape[1:], dtype=torch.float32, device=device)
            row[:size] = own.uniform_(generator=self.generators[client])
        return numbers


class _Draw(torch.autograd.Function):
    """Random numbers that ``vmap`` batches by client: they depend on the client's generator alone."""

    @staticmethod
    def forward(like: torch.Tensor, draws: StackedDraws, shape: tuple[int, ...]) -> torch.Tensor:
        """Return the numbers of a stack of one."""
        return draws.drawn(shape, like.device)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: torch.Tensor) -> None:
        """Keep nothing: the numbers have no gradient."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, None, None]:
        """Return no gradients."""
        return None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, like: torch.Tensor, draws: StackedDraws, shape: tuple[int, ...]
    ) -> tuple[torch.Tensor, int]:
        """Return the numbers of all clients, one row each."""
        return draws.drawn(shape, like.device), 0
