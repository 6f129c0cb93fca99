"""Server state that is the mean of what the clients keep, such as the control variates of SCAFFOLD."""

from typing import ClassVar

from flwr.app import MetricRecord

from common.records import Tensors
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg


class ClientMean(FedAvg):
    """Follows the mean s = sum_i p_i s_i over all clients by the changes of those of a round.

    s <- s + sum_{i in S} p_i (s_i+ - s_i). p_i is 1 / K or n_i / N, the client's weight in the objective:
    it is normalised over all clients, whichever take part, and no correction of participation is in it. A
    mean that is normalised within the cohort would not add up to a mean over the clients. Where all clients
    start with s_i = 0, s is the mean of all s_i after every round.

    Attributes
    ----------
    CHANGES : str
        The section that s_i+ - s_i is found from, in a reply or from ``prepare``.
    """

    TRANSIENT: ClassVar[tuple[str, ...]] = (*FedAvg.TRANSIENT, "_changes")
    CHANGES: ClassVar[str] = "control"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._changes = WeightedAverage()

    def accumulate(
        self, name: str, average: WeightedAverage, section: Tensors, metrics: MetricRecord
    ) -> None:
        """Add up changes with the clients' own weights."""
        if name != self.CHANGES:
            super().accumulate(name, average, section, metrics)
            return
        self._changes = average
        average.add(section, self.client_weight(metrics))

    def moved(self, mean: Tensors, changes: Tensors, factor: float = 1.0) -> Tensors:
        """Return s after a round, from s before it, in which entries that are missing are zero.

        `factor` times `changes` is the average of s_i+ - s_i over the cohort.
        """
        share = factor * self._changes.total_weight / self.total_weight
        return {name: share * change + mean.get(name, 0) for name, change in changes.items()}
