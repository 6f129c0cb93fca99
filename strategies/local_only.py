"""The server half of training alone."""

from collections.abc import Mapping
from typing import ClassVar

from strategies.fedavg import FedAvg


class LocalOnly(FedAvg):
    """Averages nothing: its clients send no part of the model."""

    UNUSED: ClassVar[Mapping[str, str]] = {"method.weighting": "whose clients send no model to average"}

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.weighs_replies = False
