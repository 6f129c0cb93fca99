"""The server half of balanced softmax: sends clients the number of samples of each class in total.

arXiv:2007.10740, arXiv:2007.07314.
"""

from typing import Literal

from common.config import Config
from common.records import Payload
from strategies.fedavg import FedAvg


class BalancedSoftmax(FedAvg):
    """FedAvg that sends the class counts of all clients together, if ``prior`` is ``global``."""

    prior: Literal["local", "global"] = "local"

    def shows_labels(self) -> str:
        """Say that all clients' counts are added up."""
        return "with method.prior = 'global'" if self.prior == "global" else ""

    def leaks(self, config: Config) -> str:
        """Say that all clients learn these counts."""
        if self.prior == "local":
            return ""
        return "method.prior = 'global', for which all clients learn the exact class counts: use 'local'"

    def broadcast(self, server_round: int) -> Payload:
        """Return the counts."""
        if self.prior == "local":
            return {}
        return {"class-counts": {"counts": self.label_counts.sum(dim=0)}}
