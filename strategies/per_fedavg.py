"""Per-FedAvg's server half (Fallah, Mokhtari and Ozdaglar 2020, arXiv:2002.07948, Algorithm 1)."""

from typing import Literal

from strategies.fedavg import FedAvg


class PerFedAvg(FedAvg):
    """FedAvg with equal weights."""

    weighting: Literal["examples", "uniform"] = "uniform"
