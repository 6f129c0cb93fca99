"""Every client trains alone: the lower baseline for federated methods."""

from typing import Literal

from clients.fedper import FedPer


class LocalOnly(FedPer):
    """The whole model is personal and nothing is averaged; the training budget is that of a federated run."""

    personal_part: Literal["all"] = "all"
