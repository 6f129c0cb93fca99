"""FedRoD's server half (Chen and Chao, ICLR 2022): FedAvg, or a class-wise average of the generic head.

arXiv:2107.00778.
"""

from typing import Literal

from common.records import ARRAYS, Payload, Tensors
from strategies._class_wise import class_wise_mean, head_entries, scaled_rows
from strategies.fedavg import FedAvg


class FedRoD(FedAvg):
    """Averages body and generic head; personal heads never leave the clients.

    With ``head_aggregation = "class-wise"``, as in the code of FedLoGe, each row of the generic head weighs
    the clients by n_k n_kc; a class that no client of the round has is averaged as the body is.
    """

    TRANSIENT = (*FedAvg.TRANSIENT, "SECTIONS")
    head_aggregation: Literal["examples", "class-wise"] = "examples"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        if self.head_aggregation == "class-wise":
            self.SECTIONS = frozenset({ARRAYS, "class-counts"})

    def shows_labels(self) -> str:
        """Say that clients send their counts for the head."""
        return "with method.head-aggregation = 'class-wise'" if "class-counts" in self.SECTIONS else ""

    def prepare(self, sections: Payload) -> Payload:
        """Add the head's rows times the class counts."""
        if "class-counts" not in sections:
            return sections
        model, counts = sections[ARRAYS], sections["class-counts"]["counts"]
        head = {name: model[name] for name in head_entries(model)}
        return {**sections, "scaled-head": scaled_rows(head, counts)}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Return the averages, with the head's rows by class."""
        model = averages[ARRAYS]
        if "scaled-head" not in averages:
            return model
        counts = averages["class-counts"]["counts"]
        return model | class_wise_mean(averages["scaled-head"], counts, model)
