"""Server half of initialising SCAFFOLD's control variates with gradients instead of zeros."""

from collections.abc import Sequence

from flwr.app import MetricRecord

from common.records import Payload, Tensors
from strategies._client_means import ClientMean


class InitialControl(ClientMean):
    """With ``initialise``, all clients send a gradient at the initial model before the first round.

    c_i is the mean of as many mini-batch gradients as a round has steps, and c the mean of all c_i (the
    default of the code of Bao, Crawshaw and Liu, ICML 2024).
    """

    initialise: bool = False

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.control: Tensors = {}

    def prelude_clients(self, server_round: int, cohort: Sequence[int]) -> Sequence[int]:
        """Ask all clients, once."""
        return range(self.num_clients) if self.initialise and server_round == 1 else ()

    def prelude_weight(self, metrics: MetricRecord) -> float:
        """Return the client's weight in the objective: all are asked, so there is nothing to correct."""
        return self.client_weight(metrics)

    def on_prelude(self, means: Payload, weight: float) -> None:
        """Set c to the mean of all controls; those of clients that failed to answer are zero."""
        share = weight / self.total_weight
        self.control = {name: share * value for name, value in means["control"].items()}
