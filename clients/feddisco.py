"""FedDisco's client half is FedAvg's (Ye et al., ICML 2023, arXiv:2305.19229)."""

from clients.base import Client


class FedDisco(Client):
    """Local SGD; the server weighs by class counts, which numbers as targets do not have."""

    NEEDS_CLASSES = True
