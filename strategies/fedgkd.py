"""FedGKD's server half (Yao et al. 2021, arXiv:2107.00051, section 3.2): a teacher of past global models."""

from common.records import Payload, Tensors
from common.sections import Positive
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg


class FedGKD(FedAvg):
    """FedAvg that also sends the mean of the last ``buffer_size`` global models, including this round's.

    With a buffer of one, and in the first round, this is the model itself, and nothing extra is sent.
    """

    PAST_MODELS = ("past",)

    buffer_size: Positive = 5

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.past: list[Tensors] = []

    def broadcast(self, server_round: int) -> Payload:
        """Add this round's model to the buffer, and send the buffer's mean."""
        self.past = [*self.past, self.global_model][-self.buffer_size :]
        if len(self.past) == 1:
            return {}
        teacher = WeightedAverage()
        for model in self.past:
            teacher.add(model, 1.0)
        return {"teacher": teacher.result()}
