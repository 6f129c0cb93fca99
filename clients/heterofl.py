"""HeteroFL's client half (Diao, Ding and Tarokh, ICLR 2021): a loss over the client's own classes.

arXiv:2010.01264.
"""

import torch
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch
from common.errors import UserError
from common.records import Payload, Tensors


class HeteroFL(Client):
    """Masked cross-entropy: the logits of classes that the client does not hold are 0 (section 3.3).

    ``masked_loss = false`` is plain cross-entropy. The scaler is part of the narrower model.
    """

    masked_loss: bool = True

    def validate(self) -> None:
        """Refuse running statistics shared by clients of different widths."""
        config = self.worker.config
        if self.worker.buffers and config.batch_norm.policy != "recalibrate":
            raise UserError(
                f"'{config.method.name}' estimates BatchNorm's statistics at the end of a round:"
                " set batch-norm.policy = 'recalibrate', or model.norm = 'group'"
            )
        if self.worker.dataset.target_shape and self.masked_loss:
            raise UserError("method.masked-loss needs one label per sample: set it to false")

    def begin_round(self) -> None:
        """Find the classes that the client holds."""
        self.held_classes = self.target_counts().to(self.worker.device) > 0

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the masked cross-entropy."""
        logits = self.forward(params, batch.inputs)
        return F.cross_entropy(
            masked(logits, self.held_classes) if self.masked_loss else logits, batch.targets
        )

    def end_round(self, params: Tensors) -> Payload:
        """Send the server the rows of the classifier to which the client contributes."""
        held = self.held_classes if self.masked_loss else torch.ones_like(self.held_classes)
        return {"classes": {"held": held}}


def masked(logits: torch.Tensor, held_classes: torch.Tensor) -> torch.Tensor:
    """Return logits (samples, classes) with 0 for classes that are not held."""
    return torch.where(held_classes, logits, torch.zeros_like(logits))
