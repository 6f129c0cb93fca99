"""Per-FedAvg's server half (Fallah, Mokhtari and Ozdaglar 2020, Algorithm 1)."""

from typing import Literal

from strategies.fedavg import FedAvg


class PerFedAvg(FedAvg):
    """FedAvg with equal weights."""

    weighting: Literal["examples", "uniform"] = "uniform"
