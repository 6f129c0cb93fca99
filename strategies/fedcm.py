"""FedCM's server half (Xu et al. 2021, arXiv:2106.10874, Algorithm 2)."""

from typing import Annotated, Literal

from flwr.app import MetricRecord
from pydantic import Field

from common.records import Payload, Tensors
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg


class FedCM(FedAvg):
    """Delta <- mean_i(x - y_i) / (lr J), in units of gradients; x <- x + lr_s mean_i(y_i - x).

    lr J is the clients' mean of learning rate times local steps, as in the paper if all take the same number
    of steps. The paper's eta_g is lr_s lr J.
    """

    TRANSIENT = ("_work",)

    alpha: Annotated[float, Field(gt=0, le=1)] = 0.1
    server_learning_rate: Annotated[float, Field(gt=0)] = 1.0
    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.momentum: Tensors = {}
        self._work: list[tuple[float, float]] = []

    def measures_changes(self) -> bool:
        """Return True: the momentum is computed from changes."""
        return True

    def broadcast(self, server_round: int) -> Payload:
        """Send Delta, zero at first."""
        self._work = []
        return {"momentum": self.as_trained(self.momentum)}

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Record the client's learning rate times steps."""
        work = float(metrics["learning-rate"]) * float(metrics["num-steps"])  # type: ignore[arg-type]
        self._work.append((self.weight(metrics), work))
        super().accumulate(name, average, section, metrics)

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step the momentum and the model; at a learning rate of zero the momentum stays."""
        work = sum(w * value for w, value in self._work) / sum(w for w, _ in self._work)
        change = self.mean_change(averages)
        if work > 0:
            self.momentum = {name: -d / work for name, d in change.items()}
        return self.stepped(averages, {name: self.server_learning_rate * d for name, d in change.items()})
