"""The focal loss."""

from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional as F

from clients.local.losses._samples import mean, samples


def loss(
    logits: torch.Tensor, targets: torch.Tensor, *, gamma: Annotated[float, Field(ge=0, le=1000)] = 2.0
) -> torch.Tensor:
    """Return the mean of -(1 - p_y)^gamma log p_y over samples (Lin et al. 2017, Eq. 4).

    Both factors are computed in log space: log p_y from the label's score, log(1 - p_y) from the others', so
    that neither they nor their gradients vanish where the scores are far apart.
    """
    scores, labels = samples(logits, targets)
    exact = torch.promote_types(scores.dtype, torch.float32)
    log_probabilities = F.log_softmax(scores, dim=1, dtype=exact)
    least = torch.finfo(exact).min  # minus infinity would have no gradient
    log_rest = torch.logsumexp(log_probabilities.scatter(1, labels, least), dim=1)
    return -mean(torch.exp(gamma * log_rest) * log_probabilities.gather(1, labels)[:, 0], targets)
