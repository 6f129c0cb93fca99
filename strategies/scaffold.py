"""SCAFFOLD's server half (Karimireddy et al. 2020, arXiv:1910.06378, Algorithm 1, lines 16-17)."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from common.config import Config
from common.records import ARRAYS, Payload, Tensors
from strategies._corrections import momentum_advice
from strategies._initial_control import InitialControl


class Scaffold(InitialControl):
    """x <- x + lr_s mean(y_i - x); c <- c + sum_i p_i (c_i+ - c_i), p_i being 1 / K, or n_i / N by examples.

    With all controls zero at the start, c is the mean of all c_i after every round (``ClientMean``).
    """

    SECTIONS = frozenset({ARRAYS, "control"})
    server_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    weighting: Literal["examples", "uniform"] = "uniform"

    def divergence_advice(self, config: Config) -> Iterator[str]:
        """Advise against momentum."""
        return momentum_advice(config)

    def broadcast(self, server_round: int) -> Payload:
        """Send c, zero at first, in the model's precision."""
        return {"control": self.as_trained(self.control)}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step the model and the control."""
        self.control = self.moved(self.control, averages["control"])
        step = {n: self.server_learning_rate * d for n, d in self.mean_change(averages).items()}
        return self.stepped(averages, step)
