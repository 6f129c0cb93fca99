"""Methods that weigh the clients of a round by who they are."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid

from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg

_LEAST = 1e-250  # in float64 without effect beside any other weight


class ClientWeights(FedAvg):
    """Averages replies with weights that ``cohort_weights`` gives the clients of the round.

    A correction of a participation scheme comes on top.

    Attributes
    ----------
    client : int
        Whose reply is at hand, in ``prepare`` and after it.
    """

    TRANSIENT: ClassVar[tuple[str, ...]] = (*FedAvg.TRANSIENT, "client", "_clients", "_weights")

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.client = 0
        self._clients: Mapping[int, int] = {}
        self._weights: dict[int, float] = {}

    def cohort_weights(self, cohort: Sequence[int]) -> Sequence[float]:
        """Return the weights of the clients of a round, at least one of them above 0."""
        raise NotImplementedError

    def setup(self, run: RunFacts) -> None:
        """Take note of who is who."""
        super().setup(run)
        self._clients = run.client_ids

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Weigh the clients of the round."""
        cohort = [self._clients[node] for node in grid.get_node_ids()]
        self._weights = dict(zip(cohort, self.cohort_weights(cohort), strict=True))
        return super().configure_train(server_round, arrays, config, grid)

    def before_reply(self, reply: Message) -> None:
        """Look up whose reply it is."""
        self.client = self._clients[reply.metadata.src_node_id]

    def client_weight(self, metrics: MetricRecord) -> float:
        """Return the client's weight in this round.

        0 counts as next to nothing: where those with a weight have failed, the others weigh the same.
        """
        return self._weights[self.client] or _LEAST
