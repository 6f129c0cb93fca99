"""The focal loss."""

from typing import Annotated

import torch
from pydantic import Field

from clients.local.losses._samples import samples

_LEAST = 1e-10


def loss(
    logits: torch.Tensor, targets: torch.Tensor, *, gamma: Annotated[float, Field(ge=0)] = 2.0
) -> torch.Tensor:
    """Return the mean of -(1 - p_y)^gamma log(p_y + 1e-10) over samples (Lin et al. 2017, Eq. 4)."""
    scores, labels = samples(logits, targets)
    of_label = torch.softmax(scores, dim=1).gather(1, labels)
    return -((1 - of_label) ** gamma * torch.log(of_label + _LEAST)).mean()
