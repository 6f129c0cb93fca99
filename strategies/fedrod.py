"""FedRoD's server half (Chen and Chao, ICLR 2022): FedAvg, or a class-wise average of the generic head.

arXiv:2107.00778.
"""

from common.records import ARRAYS, Payload, Tensors
from models.heads.realignment import head_entries
from strategies._class_wise import ClassWiseHead


class FedRoD(ClassWiseHead):
    """Averages body and generic head; personal heads never leave the clients.

    With ``head_aggregation = "class-wise"``, as in the code of FedLoGe, each row of the generic head weights
    the clients by n_k n_kc; the row of a class that no client of the round has is averaged like the body.
    """

    def transform_reply(self, sections: Payload) -> Payload:
        """Add the head's rows times the class counts."""
        model = sections[ARRAYS]
        return self.scaled(sections, head_entries(model))

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Return the averages, with the head's rows by class."""
        model = averages[ARRAYS]
        return model | self.by_class(averages, head_entries(model))
