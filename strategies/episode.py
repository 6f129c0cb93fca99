"""EPISODE's server half (Crawshaw, Bao and Liu 2023, arXiv:2302.07155, Algorithm 1)."""

from collections.abc import Sequence
from typing import Literal

from common.records import ARRAYS, Payload, Tensors
from strategies.fedavg import FedAvg


class Episode(FedAvg):
    """Averages the cohort's gradients at the global model before a round, and its models after the round."""

    TRANSIENT = ("gradient",)
    SECTIONS = frozenset({ARRAYS, "gradient"})
    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.gradient: Tensors = {}

    def prelude_clients(self, server_round: int, cohort: Sequence[int]) -> Sequence[int]:
        """Ask the cohort for gradients."""
        return cohort

    def on_prelude(self, means: Payload, weight: float) -> None:
        """Keep G."""
        self.gradient = means["gradient"]

    def broadcast(self, server_round: int) -> Payload:
        """Send G."""
        return {"gradient": self.gradient}
