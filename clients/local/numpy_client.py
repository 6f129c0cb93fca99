"""Flower's ``NumPyClient`` interface: a round with the model as a list of arrays, in state order."""

import math
from abc import abstractmethod
from typing import Any

import numpy.typing as npt
import torch
from flwr.app import ConfigRecord
from flwr.client import NumPyClient

from clients.local.worker import Worker
from common.records import ARRAYS, Payload


class ListInterface(NumPyClient):
    """Implements ``fit`` and ``evaluate`` with the client's ``train`` and ``test``."""

    worker: Worker
    num_examples: int

    @abstractmethod
    def train(self, received: Payload, config: ConfigRecord) -> tuple[Payload, dict[str, int | float]]:
        """Train for one round."""

    @abstractmethod
    def test(self, received: Payload, config: ConfigRecord) -> dict[str, int | float]:
        """Evaluate the global model and the client's own."""

    def get_parameters(self, config: dict[str, Any]) -> list[npt.NDArray[Any]]:
        """Return the resident model as a list of arrays."""
        return [value.detach().cpu().numpy().copy() for value in self.worker.model_state.values()]

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        """Train for one round on a model given as a list of arrays."""
        _, metrics = self.train(self._named(parameters), ConfigRecord(config))
        return self.get_parameters(config), self.num_examples, dict(metrics)

    def evaluate(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[float, int, dict[str, Any]]:
        """Evaluate a model given as a list of arrays."""
        self.worker.global_evaluation = None  # the caller may have written to the arrays since the last time
        metrics = self.test(self._named(parameters), ConfigRecord(config))
        loss = metrics.get("loss", metrics.get("personal_loss", math.nan))
        return float(loss), self.num_examples, dict(metrics)

    def _named(self, parameters: list[npt.NDArray[Any]]) -> Payload:
        names = self.worker.model_state
        return {ARRAYS: dict(zip(names, map(torch.from_numpy, parameters), strict=True))}
