"""FedGKD's client half (Yao et al. 2021, arXiv:2107.00051, Eq. 5): distils from past global models."""

from typing import ClassVar

import torch

from clients._distillation import by_target, divergence, logits_of_teacher
from clients.base import Client
from clients.local.batches import Batch
from clients.local.incoming import Section
from common.records import ARRAYS, Tensors
from common.sections import NonNegativeFloat, Value


class FedGKD(Client):
    """Minimises cross-entropy + (gamma / 2) KL(p_teacher || p_local); gamma = 0 is FedAvg.

    The teacher is the mean of the last ``buffer_size`` global models, including the received one.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    NEEDS_CLASSES = True

    gamma: NonNegativeFloat = 0.2

    def receives(self) -> dict[str, Section]:
        """Return the form of the teacher, which is absent in the first round."""
        return {"teacher": Section(self.worker.model_state, needed_for=())}

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return both terms."""
        logits = self.forward(params, batch.inputs)
        loss = self._loss(logits, batch.targets)
        if self.gamma == 0:
            return loss
        teacher = logits_of_teacher(self, self.received.get("teacher") or self.received[ARRAYS], batch)
        (own, targets), (other, _) = by_target(logits, batch.targets), by_target(teacher, batch.targets)
        return loss + self.gamma / 2 * divergence(own, other, targets)
