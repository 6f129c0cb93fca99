"""FedLC (Zhang et al., ICML 2022, arXiv:2209.00189): logits calibrated by the client's labels."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch
from common.records import Tensors


class FedLC(Client):
    """Cross-entropy of s_c = z_c - tau n_c^(-1/4), n_c being the client's samples of class c; predicts by z.

    A class that the client lacks has no part in the softmax, so that it is not unlearnt. This is what the
    paper's text and public implementations say. In its printed equation, log sum_c e^(s_c) - s_y, the sum
    leaves out y (``denominator`` ``others``): that loss has no lower bound, and training with it diverges
    unless gradients are clipped or rates are small. It is 0 on a client that has one class only.
    """

    NEEDS_CLASSES = True
    NEEDS_ONE_LABEL = True

    tau: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    denominator: Literal["all", "others"] = "all"

    def begin_round(self) -> None:
        """Set the shifts of the logits, and whether there is another class for sums without y."""
        device, shift = self.worker.device, calibration(self.target_counts(), self.tau)
        self.shift = shift.to(device, torch.get_default_dtype())
        self.has_others = (shift.isfinite().sum() > 1).to(device)

    def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Return the loss of the calibrated logits."""
        logits = self.forward(params, batch.inputs) - self.shift
        if self.denominator == "all":
            return F.cross_entropy(logits, batch.targets)
        own = F.one_hot(batch.targets, len(self.shift)).bool()
        summed = logits.masked_fill(own & self.has_others, -torch.inf).logsumexp(dim=1)
        return (summed - logits.gather(1, batch.targets[:, None])[:, 0]).mean()


def calibration(counts: torch.Tensor, tau: float) -> torch.Tensor:
    """Return tau n_c^(-1/4), (classes,); infinity for a class without samples, and 0 for all if tau is 0."""
    return tau * counts.double() ** -0.25 if tau > 0 else torch.zeros(len(counts))
