"""FedNova's server half (Wang et al. 2020, Eq. 10): averages changes normalised by local work.

arXiv:2007.07481.
"""

from typing import Annotated, Literal

from flwr.app import MetricRecord
from pydantic import Field

from common.records import ARRAYS, Payload, Tensors
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg


class FedNova(FedAvg):
    """x <- x - tau_eff sum_i p_i d_i with d_i = (x - y_i) / ||a_i||_1.

    ``effective_steps`` is how tau_eff averages: ``norm`` = sum_i p_i ||a_i||_1 (the authors' code), or
    ``steps`` = sum_i p_i tau_i (the paper). With equal work on all clients ``norm`` is FedAvg.

    With ``server_momentum`` beta, as in the authors' code, D being that step: u <- beta u + D / lr and
    x <- x - lr u, lr being the clients' learning rate of the round.
    """

    SECTIONS = frozenset({ARRAYS, "effort"})
    TRANSIENT = ("_rate",)
    effective_steps: Literal["norm", "steps"] = "norm"
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.velocity: Tensors = {}  # -u, in units of gradients
        self._rate = 0.0

    def measures_changes(self) -> bool:
        """Return True: changes are divided by local work."""
        return True

    def transform_reply(self, sections: Payload) -> Payload:
        """Add -d_i to the reply."""
        norm, arrays = sections["effort"]["norm"], sections[ARRAYS]
        change = {n: (arrays[n].double() - self.global_model[n]) / norm for n in self.parameter_names}
        return {**sections, "change": change}

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Record the round's learning rate, which all clients have."""
        self._rate = float(metrics["learning-rate"])  # type: ignore[arg-type]
        super().accumulate(name, average, section, metrics)

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step by the average direction, scaled by the average work, or along its momentum."""
        tau, rate = averages["effort"][self.effective_steps], self._rate
        step = {name: tau * change for name, change in averages["change"].items()}
        if self.server_momentum > 0 and rate > 0:  # at a rate of zero nothing has moved
            beta = self.server_momentum
            self.velocity = {name: beta * self.velocity.get(name, 0) + d / rate for name, d in step.items()}
            step = {name: rate * velocity for name, velocity in self.velocity.items()}
        return self.stepped(averages, step)
