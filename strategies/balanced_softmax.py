"""Balanced softmax's server half: sends clients the total number of samples of each class.

arXiv:2007.10740, arXiv:2007.07314.
"""

from typing import Literal

from common.config import Config
from common.records import Payload
from strategies.fedavg import FedAvg


class BalancedSoftmax(FedAvg):
    """FedAvg that also sends the class counts summed over all clients, if ``prior`` is ``global``."""

    prior: Literal["local", "global"] = "local"

    def how_labels_leak(self) -> str:
        """Return how: the server sums all clients' counts."""
        return "with method.prior = 'global'" if self.prior == "global" else ""

    def how_data_leak(self, config: Config, has_validation: bool) -> str:
        """Return how: all clients learn these counts."""
        if self.prior == "local":
            return ""
        return "method.prior = 'global', for which all clients learn the exact class counts: use 'local'"

    def broadcast(self, server_round: int) -> Payload:
        """Return the counts."""
        if self.prior == "local":
            return {}
        return {"class-counts": {"counts": self.label_counts.sum(dim=0)}}
