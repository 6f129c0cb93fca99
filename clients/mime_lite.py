"""MimeLite's client half (Karimireddy et al. 2021, arXiv:2008.03606, Algorithm 1, "MimeLite" lines)."""

from typing import Annotated, ClassVar

from pydantic import Field

from clients.base import Client
from clients.local.incoming import Section
from clients.local.sgd_only import require_no_momentum
from common.records import Payload, Tensors
from common.sections import Value


class MimeLite(Client):
    """Steps y <- y - lr ((1 - beta) g(y) + beta m): the server's momentum m stays fixed during the round.

    The client also sends its full-batch gradient at x, in evaluation mode and without weight decay, which
    the optimiser adds to every step. beta = 0 is FedAvg.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    beta: Annotated[float, Field(ge=0, lt=1)] = 0.9

    def validate(self) -> None:
        """Refuse client momentum."""
        require_no_momentum(self.worker.config.optimizer, self.worker.config.method.name)

    def receives(self) -> dict[str, Section]:
        """Return the form of m."""
        return {"momentum": Section(self.params)}

    def begin_round(self) -> None:
        """Compute the gradient at x."""
        self.gradient = self.full_gradient()

    def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
        """Return U(g, m)."""
        momentum = self.received["momentum"]
        return {name: (1 - self.beta) * grad + self.beta * momentum[name] for name, grad in grads.items()}

    def end_round(self, params: Tensors) -> Payload:
        """Send the gradient at x."""
        return {"gradient": self.gradient}
