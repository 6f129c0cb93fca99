"""SlowMo's server half (Wang et al. 2020, arXiv:1910.00643, Algorithm 1)."""

from typing import Annotated

from pydantic import Field

from common.records import ARRAYS, Payload, Tensors
from strategies._equal_clients import EqualClients


class SlowMo(EqualClients):
    """u <- beta u + (x - mean_k y_k) / lr; x <- x - alpha lr u, with u = 0 at the start.

    beta is ``slow_momentum``, alpha is ``slow_learning_rate``, lr is the clients' learning rate gamma_t. The
    paper has one for the whole round; where it changes within it, or stragglers leave out some of its steps,
    lr is its mean over the steps of all clients, weighted as their models are. u is in units of gradients, so
    its effect shrinks with the learning rate. BMUF is alpha = 1.
    """

    slow_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.7
    slow_learning_rate: Annotated[float, Field(gt=0)] = 1.0

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.slow_buffer: Tensors = {}

    def measures_changes(self) -> bool:
        """Return True: the slow momentum is computed from changes."""
        return True

    def outer_step(self, averages: Payload, server_round: int) -> Tensors:
        """Step along the slow momentum; a no-op at a learning rate of zero."""
        rate = self.learning_rate
        if rate == 0:
            return averages[ARRAYS]
        change = self.mean_change(averages)
        self.slow_buffer = {
            name: self.slow_momentum * self.slow_buffer.get(name, 0) - d / rate for name, d in change.items()
        }
        step = {name: -self.slow_learning_rate * rate * u for name, u in self.slow_buffer.items()}
        return self.stepped(averages, step)
