"""Methods that compute a weight for each client of a round."""

from collections.abc import Iterable, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from strategies.fedavg import FedAvg

_MIN = 1e-250  # has no effect in float64 next to any other weight


class ClientWeights(FedAvg):
    """Averages replies with the weights of ``cohort_weights``.

    The correction of a participation scheme is applied on top.

    Attributes
    ----------
    client : int
        The client of the current reply; set by ``before_reply``.
    """

    TRANSIENT = ("client", "_weights")

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.client = 0
        self._weights: dict[int, float] = {}

    def cohort_weights(self, cohort: Sequence[int]) -> Sequence[float]:
        """Return the weights of the clients of a round, at least one of them above 0."""
        raise NotImplementedError

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Compute the weights of the round's clients."""
        cohort = [self.client_ids[node] for node in grid.get_node_ids()]
        self._weights = dict(zip(cohort, self.cohort_weights(cohort), strict=True))
        return super().configure_train(server_round, arrays, config, grid)

    def before_reply(self, reply: Message) -> None:
        """Look up the reply's client."""
        self.client = self.client_of(reply)

    def client_weight(self, metrics: MetricRecord) -> float:
        """Return the client's weight in this round.

        0 becomes a negligible weight: if all clients with a weight have failed, the others weigh the same.
        """
        return self._weights[self.client] or _MIN
