"""FedDisco's client half is FedAvg's (Ye et al., ICML 2023, arXiv:2305.19229)."""

from typing import ClassVar

from clients.base import Client
from common.sections import Value


class FedDisco(Client):
    """Local SGD; the server weighs by class counts, which numbers as targets do not have."""

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    NEEDS_CLASSES = True
