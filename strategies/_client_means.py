"""Server state that is the mean of the clients' states, such as SCAFFOLD's control variates."""

from typing import ClassVar

from flwr.app import MetricRecord

from common.records import Tensors
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg


class ClientMean(FedAvg):
    """Tracks the mean s = sum_i p_i s_i over all clients from the changes in each cohort.

    s <- s + sum_{i in S} p_i (s_i+ - s_i). p_i is 1 / K or n_i / N, the client's weight in the objective: it
    is normalised over all clients, whichever take part, and not corrected for participation. Weights
    normalised within the cohort would not give a mean over the clients. If all clients start with s_i = 0, s
    is the mean of all s_i after every round.

    Attributes
    ----------
    CHANGES : str
        The section, of a reply or from ``transform_reply``, with s_i+ - s_i.
    """

    TRANSIENT = ("_changes",)
    CHANGES: ClassVar[str] = "control"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._changes = WeightedAverage()

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Accumulate changes with the clients' weights in the objective."""
        if name != self.CHANGES:
            super().accumulate(name, average, section, metrics)
            return
        self._changes = average
        average.add(section, self.client_weight(metrics))

    def moved(self, mean: Tensors, changes: Tensors, factor: float = 1.0) -> Tensors:
        """Return s after a round, given s before it; entries missing from the latter are zero.

        `factor` times `changes` is the average of s_i+ - s_i over the cohort.
        """
        share = factor * self._changes.total_weight / self.total_weight
        return {name: share * change + mean.get(name, 0) for name, change in changes.items()}
