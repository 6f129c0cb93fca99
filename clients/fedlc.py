"""FedLC (Zhang et al., ICML 2022, arXiv:2209.00189): logits calibrated by the client's labels."""

from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch
from common.records import Tensors


class FedLC(Client):
    """Cross-entropy of z_c - tau n_c^(-1/4), n_c being the client's samples of class c; predicts with z.

    A class that the client lacks has no part in the softmax, so that it is not unlearnt.
    """

    NEEDS_CLASSES = True
    NEEDS_ONE_LABEL = True

    tau: Annotated[float, Field(ge=0, le=1e6)] = 1.0

    def begin_round(self) -> None:
        """Set the shifts of the logits."""
        shift = calibration(self.target_counts(), self.tau)
        self.shift = shift.to(self.worker.device, torch.get_default_dtype())

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy of the calibrated logits."""
        return F.cross_entropy(self.forward(params, batch.inputs) - self.shift, batch.targets)


def calibration(counts: torch.Tensor, tau: float) -> torch.Tensor:
    """Return tau n_c^(-1/4), (classes,); infinity for a class without samples, and 0 for all if tau is 0."""
    return tau * counts.double() ** -0.25 if tau > 0 else torch.zeros(len(counts))
