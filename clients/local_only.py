"""Every client trains for itself: the floor that federated methods are compared with."""

from clients.fedper import FedPer


class LocalOnly(FedPer):
    """The whole model is personal and nothing is averaged; the budget is that of the federated run."""

    personal_part: str = "all"
