"""The binary cross-entropy of FedLoGe's code in which only the label's score is trained."""

import torch
from torch.nn import functional as F

from clients.local.losses._samples import mean, samples


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean over samples of sum_j BCE(s_j, [j = y]); scores of other classes have no gradient."""
    scores, labels = samples(logits, targets)
    of_label = scores.gather(1, labels)
    others = F.softplus(scores.detach()).sum(dim=1) - F.softplus(of_label.detach())[:, 0]
    return mean(F.softplus(-of_label)[:, 0] + others, targets)
