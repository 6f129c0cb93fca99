"""Clients that report the loss of the received model, for methods that aim at fairness."""

from typing import ClassVar

import torch

from clients.base import Client
from clients.local.full_batch import full_loss
from common.records import Payload, Tensors
from common.sections import Value


class LossAtStart(Client):
    """Local SGD that also sends the loss of the received model on all local data, in evaluation mode."""

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    def begin_round(self) -> None:
        """Measure the loss."""
        self.loss_at_start = torch.tensor(full_loss(self), dtype=torch.float64)

    def end_round(self, params: Tensors) -> Payload:
        """Send it."""
        return {"loss": {"at-start": self.loss_at_start}}
