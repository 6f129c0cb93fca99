"""SCAFFOLD's controls may begin with gradients instead of zeros."""

from collections.abc import Sequence

from common.records import Payload, Tensors
from strategies.fedavg import FedAvg


class InitialControl(FedAvg):
    """With ``initialise``, all clients tell a gradient at the initial model before the first round.

    c_i is the mean of as many mini-batch gradients as a round has steps, and c the mean of all c_i (the
    default of the code of Bao, Crawshaw and Liu, ICML 2024).
    """

    initialise: bool = False

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.control: Tensors = {}

    def asks(self, server_round: int, cohort: Sequence[int]) -> Sequence[int]:
        """Ask everyone once."""
        return range(self.num_clients) if self.initialise and server_round == 1 else ()

    def learn(self, means: Payload) -> None:
        """Begin with the mean of all controls."""
        self.control = means["control"]
