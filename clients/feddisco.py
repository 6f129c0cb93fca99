"""FedDisco's client half is FedAvg's (Ye et al., ICML 2023, arXiv:2305.19229)."""

from typing import ClassVar

from clients.base import Client
from common.sections import Value


class FedDisco(Client):
    """Local SGD; the server weights clients by class counts, which regression targets do not have."""

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    NEEDS_CLASSES = True
