"""The server half of training alone."""

from typing import Literal

from strategies.fedavg import FedAvg


class LocalOnly(FedAvg):
    """Averages nothing, so that there are no weights to choose."""

    weighting: Literal["examples"] = "examples"
