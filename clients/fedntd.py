"""FedNTD (Lee et al., NeurIPS 2022, arXiv:2106.03097, Eq. 5 to 7): distils the not-true classes."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field

from clients._distillation import by_target, divergence, logits_of_teacher
from clients.base import Client
from clients.local.batches import Batch
from common.records import ARRAYS, Tensors
from common.sections import NonNegativeFloat, Value


class FedNTD(Client):
    """Minimises cross-entropy + beta tau^2 KL(q_global || q_local), both without the true class.

    q is the softmax of logits / tau over all classes but the sample's own; the received global model is the
    teacher. tau^2 is from the authors' code and preserves the gradient's scale. beta = 0 is FedAvg.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"model.name": "mlp"}

    NEEDS_CLASSES = True

    beta: NonNegativeFloat = 1.0
    tau: Annotated[float, Field(gt=0)] = 1.0

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return both terms."""
        logits = self.forward(params, batch.inputs)
        loss = self._loss(logits, batch.targets)
        if self.beta == 0:
            return loss
        teacher = logits_of_teacher(self, self.received[ARRAYS], batch)
        return loss + self.beta * not_true_divergence(logits, teacher, batch.targets, self.tau)


def not_true_divergence(
    logits: torch.Tensor, teacher: torch.Tensor, targets: torch.Tensor, tau: float = 1.0
) -> torch.Tensor:
    """Return tau^2 times the mean KL of the teacher's and the model's softmax over the not-true classes.

    Parameters
    ----------
    logits, teacher : torch.Tensor
        (samples, classes), or (samples, classes, positions).
    targets : torch.Tensor
        int64, (samples,) or (samples, positions); negative ones do not count.
    """
    (own, true), (other, _) = by_target(logits, targets), by_target(teacher, targets)
    untrue = torch.arange(own.shape[1] - 1, device=own.device)[None]
    untrue = untrue + (untrue >= true[:, None])  # all classes but the true one, in their order
    own, other = (rows.gather(1, untrue) / tau for rows in (own, other))
    return tau**2 * divergence(own, other, true)
